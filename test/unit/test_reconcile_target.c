/* Documents, sequence numbers, forces, pulls that nobody wants, and what is durable before anything is stopped. */
#include "reconcile_fixture.h"

static void run_first(struct world *w)
{
	fake_add_image(w, "img:1");
	fake_add_image(w, "img:2");
	world_run(w, "1 r1: main=img:1");
}

/* -------- what is on disk before the first stop -------- */

static size_t n_stops_seen;

static void on_stop_asked(struct world *w, const char *line)
{
	AUTO_FREE char *ledger = NULL;
	struct json *doc = NULL;
	const struct json *row;
	struct err err = {0};

	if (fnmatch(STOPS, line, 0) != 0)
		return;
	n_stops_seen++;
	ledger = kept(w, "ledger.json");
	assert_int_equal(json_parse(ledger, strlen(ledger), 1 << 20, &doc, &err), 0);
	row = json_at(json_get(doc, "removed"), 0);
	assert_string_equal(json_str(json_get(row, "service")), "main");
	json_free(doc);
}

static void a_service_is_on_record_before_its_stop_is_sent(void **state)
{
	struct world *w = *state;

	run_first(w);
	n_stops_seen = 0;
	w->on_asked = on_stop_asked;
	offer(w, "1 r2: main=img:2");
	RUN_UNTIL(w->loop, world_settled(w));
	assert_int_equal(n_stops_seen, 1);
	world_close(w); /* all is written */
	w->on_asked = NULL;
	{
		AUTO_FREE char *ledger = kept(w, "ledger.json");

		assert_non_null(strstr(ledger, "\"removed\":[]"));
	}
}

static void nothing_is_stopped_while_the_ledger_cannot_be_written(void **state)
{
	struct world *w = *state;

	run_first(w);
	world_pass(w, 20); /* the last write of the beginning */
	assert_int_equal(unlinkat(w->f->dir_fd, "state/ledger.json", 0), 0);
	assert_int_equal(mkdirat(w->f->dir_fd, "state/ledger.json", 0700), 0);
	offer(w, "1 r2: main=img:2");
	RUN_UNTIL(w->loop, wait_of(w, WAIT_BACKOFF));
	assert_non_null(strstr(wait_of(w, WAIT_BACKOFF)->detail, "cannot record"));
	world_pass(w, 300); /* several attempts */
	assert_int_equal(asked_count(w, STOPS), 0);
	assert_true(app_locks(w, 1, "main"));
	app_unlocks(w, 1, "main");
	assert_true(logged(w, " store_failed ") > 0);
	assert_int_equal(unlinkat(w->f->dir_fd, "state/ledger.json", AT_REMOVEDIR), 0);
	RUN_UNTIL(w->loop, world_settled(w));
	assert_int_equal(asked_count(w, STOPS), 1);
}

static void a_service_that_was_stopped_comes_back_in_the_next_run_although_another_one_is_locked_now(void **state)
{
	struct world *w = *state;

	fake_add_image(w, "img:1");
	fake_add_image(w, "img:2");
	world_run(w, "1 r1: main=img:1 other=img:1");
	rule_add(w, CREATES, RULE_HOLD, 0, 1);
	w->facts.processors = 1;
	offer(w, "1 r2: main=img:2 other=img:2");
	RUN_UNTIL(w->loop, held_find(w, CREATES)); /* main is gone */
	assert_null(fake_of(w, "main"));
	world_close(w);
	http_stream_abort(held_take(w, CREATES));
	assert_true(app_locks(w, 1, "other"));
	asked_clear(w);
	world_open(w, "nonce-2");
	RUN_UNTIL(w->loop, asked_count(w, STARTS) == 1 && wait_of(w, WAIT_LOCKED));
	RUN_UNTIL(w->loop, fake_of(w, "main") && strcmp(fake_of(w, "main")->state, "running") == 0);
	assert_int_equal(asked_count(w, STOPS), 0);
	app_unlocks(w, 1, "other");
	RUN_UNTIL(w->loop, world_settled(w));
}

static void what_was_recorded_while_the_update_was_blocked_counts_for_nothing_later(void **state)
{
	struct world *w = *state;
	struct fake_container *c;

	run_first(w);
	assert_true(app_locks(w, 1, "main"));
	offer(w, "1 r2: main=img:2");
	RUN_UNTIL(w->loop, wait_of(w, WAIT_LOCKED));
	offer(w, "1 r3: main=img:1"); /* back again: only its name differs */
	c = fake_of(w, "main");
	fake_die(w, c); /* by a person */
	RUN_UNTIL(w->loop, wait_of(w, WAIT_LOCKED));
	app_unlocks(w, 1, "main");
	RUN_UNTIL(w->loop, world_settled(w));
	assert_int_equal(asked_count(w, STARTS), 0);
	assert_string_equal(fake_of(w, "main")->state, "exited");
}

static void a_service_whose_update_is_blocked_is_nobodys_to_remove_when_a_person_stops_it(void **state)
{
	struct world *w = *state;

	run_first(w);
	assert_true(app_locks(w, 1, "main"));
	offer(w, "1 r2: main=img:2");
	RUN_UNTIL(w->loop, wait_of(w, WAIT_LOCKED));
	world_pass(w, 20); /* on record by now */
	fake_die(w, fake_of(w, "main"));
	RUN_UNTIL(w->loop, reconcile_current(w->r)->containers[0].state == CONTAINER_EXITED);
	world_pass(w, 20);
	assert_int_equal(asked_count(w, CHANGES), 0);
	app_unlocks(w, 1, "main");
	RUN_UNTIL(w->loop, world_settled(w));
}

static char *ledger_then; /* as it was on disk when the first stop was sent */

static void on_first_stop(struct world *w, const char *line)
{
	char *armed;

	if (ledger_then || fnmatch(STOPS, line, 0) != 0)
		return;
	ledger_then = kept(w, "ledger.json");
	armed = strstr(ledger_then, "\"armed\":true");
	if (armed) /* that it was armed may be written later */
		memcpy(armed, "\"armed\":null", strlen("\"armed\":null"));
}

static void
a_service_that_was_stopped_before_the_power_failed_comes_back_although_another_one_is_locked_now(void **state)
{
	struct world *w = *state;

	fake_add_image(w, "img:1");
	fake_add_image(w, "img:2");
	w->facts.processors = 1;
	world_run(w, "1 r1: main=img:1 other=img:1");
	ledger_then = NULL;
	w->on_asked = on_first_stop;
	rule_add(w, CREATES, RULE_HOLD, 0, 1);
	offer(w, "1 r2: main=img:2 other=img:2");
	RUN_UNTIL(w->loop, held_find(w, CREATES));
	assert_null(fake_of(w, "main"));
	world_close(w);
	http_stream_abort(held_take(w, CREATES));
	check_write_file(w->f->dir_fd, "state/ledger.json", ledger_then);
	free(STEAL(ledger_then));
	w->on_asked = NULL;
	free(w->facts.boot_id);
	w->facts.boot_id = mem_strdup("boot-2");
	assert_true(app_locks(w, 1, "other")); /* no lock of ours is left */
	asked_clear(w);
	world_open(w, "nonce-2");
	RUN_UNTIL(w->loop, wait_of(w, WAIT_LOCKED));
	RUN_UNTIL(w->loop, fake_of(w, "main") && strcmp(fake_of(w, "main")->state, "running") == 0);
	assert_int_equal(asked_count(w, STOPS), 0);
	app_unlocks(w, 1, "other");
	RUN_UNTIL(w->loop, world_settled(w));
}

/* -------- pulls -------- */

static void a_pull_that_no_target_wants_any_more_is_cancelled(void **state)
{
	struct world *w = *state;

	run_first(w);
	rule_add(w, PULLS, RULE_HOLD, 0, 1);
	offer(w, "1 r2: main=far:2");
	RUN_UNTIL(w->loop, held_find(w, PULLS));
	assert_int_equal(reconcile_pull_percent(w->r, "far:2"), 0);
	offer(w, "1 r3: main=img:2");
	RUN_UNTIL(w->loop, held_find(w, PULLS)->gone);
	RUN_UNTIL(w->loop, world_settled(w));
	assert_int_equal(reconcile_pull_percent(w->r, "far:2"), -1);
	assert_int_equal(logged(w, " step_cancelled "), 1);
	assert_int_equal(logged(w, " step_failed "), 0);
}

static void an_update_with_cancel_drops_a_pull_and_begins_it_again(void **state)
{
	struct world *w = *state;

	run_first(w);
	rule_add(w, PULLS, RULE_HOLD, 0, 1);
	offer(w, "1 r2: main=far:2");
	RUN_UNTIL(w->loop, held_find(w, PULLS));
	reconcile_update(w->r, false, true);
	RUN_UNTIL(w->loop, held_find(w, PULLS)->gone);
	reconcile_look_done(w->r);
	RUN_UNTIL(w->loop, world_settled(w));
	assert_int_equal(asked_count(w, PULLS), 2);
	assert_string_equal(fake_of(w, "main")->state, "running");
}

static void an_update_without_cancel_lets_a_pull_go_on(void **state)
{
	struct world *w = *state;

	run_first(w);
	rule_add(w, PULLS, RULE_HOLD, 0, 1);
	offer(w, "1 r2: main=far:2");
	RUN_UNTIL(w->loop, held_find(w, PULLS));
	reconcile_update(w->r, false, false);
	reconcile_look_done(w->r);
	world_pass(w, 20);
	assert_false(held_find(w, PULLS)->gone);
	fake_add_image(w, "far:2");
	fake_answer(held_take(w, PULLS), 200, "{\"status\":\"done\"}");
	RUN_UNTIL(w->loop, world_settled(w));
	assert_int_equal(asked_count(w, PULLS), 1);
}

static void a_pull_that_fails_waits_longer_each_time_and_an_update_ends_the_wait(void **state)
{
	struct world *w = *state;
	int64_t until_ms;

	w->backoff_cap_ms = 60000;
	run_first(w);
	rule_add(w, PULLS, RULE_ANSWER, 500, 1);
	offer(w, "1 r2: main=far:2");
	RUN_UNTIL(w->loop, wait_of(w, WAIT_BACKOFF));
	assert_string_equal(fake_of(w, "main")->state, "running"); /* the old one */
	assert_in_range(wait_of(w, WAIT_BACKOFF)->until_ms - loop_now_ms(w->loop), 1, 1000);
	rule_add(w, PULLS, RULE_ANSWER, 500, 1);
	RUN_UNTIL(w->loop, asked_count(w, PULLS) == 2);
	RUN_UNTIL(w->loop, wait_of(w, WAIT_BACKOFF));
	assert_in_range(wait_of(w, WAIT_BACKOFF)->until_ms - loop_now_ms(w->loop), 1100, 2000);
	until_ms = wait_of(w, WAIT_BACKOFF)->until_ms;
	reconcile_update(w->r, false, false);
	reconcile_look_done(w->r);
	RUN_UNTIL(w->loop, asked_count(w, PULLS) == 3);
	assert_true(loop_now_ms(w->loop) < until_ms);
	RUN_UNTIL(w->loop, world_settled(w));
}

/* -------- seq -------- */

static void the_same_document_again_is_no_new_target(void **state)
{
	struct world *w = *state;
	uint64_t seq;

	run_first(w);
	seq = reconcile_seq(w->r);
	offer(w, "1 r1: main=img:1");
	world_pass(w, 10);
	assert_int_equal(reconcile_seq(w->r), seq);
	assert_int_equal(reconcile_settled_seq(w->r), seq);
	assert_int_equal(asked_count(w, CHANGES), 0);
}

static void an_update_is_settled_when_its_look_is_done_not_before(void **state)
{
	struct world *w = *state;
	uint64_t before, seq;

	run_first(w);
	before = reconcile_seq(w->r);
	seq = reconcile_update(w->r, false, false);
	assert_int_equal(seq, before + 1);
	assert_true(reconcile_looking_since(w->r) > 0);
	world_pass(w, 20);
	assert_true(reconcile_plan(w->r)->settled);
	assert_int_equal(reconcile_settled_seq(w->r), before);
	reconcile_look_done(w->r);
	RUN_UNTIL(w->loop, reconcile_settled_seq(w->r) == seq);
	assert_int_equal(reconcile_looking_since(w->r), 0);
}

static void an_update_that_brings_a_document_is_settled_with_that(void **state)
{
	struct world *w = *state;
	uint64_t seq;

	run_first(w);
	seq = reconcile_update(w->r, false, false);
	rule_add(w, STARTS, RULE_HOLD, 0, 1);
	offer(w, "1 r2: main=img:2");
	reconcile_look_done(w->r);
	RUN_UNTIL(w->loop, held_find(w, STARTS));
	assert_true(reconcile_settled_seq(w->r) < seq);
	fake_of(w, "main")->state = "running";
	fake_answer(held_take(w, STARTS), 204, NULL);
	RUN_UNTIL(w->loop, reconcile_settled_seq(w->r) >= seq);
	assert_true(world_settled(w));
	assert_string_equal(reconcile_settled_commit(w->r, 1), "r2");
}

static void a_refused_document_says_why_changes_nothing_and_lets_the_update_settle(void **state)
{
	struct world *w = *state;
	struct target_errors errors = {0};
	uint64_t seq;

	run_first(w);
	seq = reconcile_update(w->r, false, false);
	assert_int_equal(reconcile_offer_target(w->r, "{\"apps\":5}", 10, &errors), -EINVAL);
	assert_string_equal(errors.v[0].path, "apps");
	target_errors_deinit(&errors);
	assert_int_equal(reconcile_offer_target(w->r, "{\"apps\":5}", 10, NULL), -EINVAL);
	reconcile_look_done(w->r);
	RUN_UNTIL(w->loop, reconcile_settled_seq(w->r) == seq);
	assert_non_null(strstr(reconcile_target_problem(w->r), "apps"));
	assert_int_equal(logged(w, " target_rejected "), 1); /* once */
	assert_int_equal(asked_count(w, CHANGES), 0);
	offer(w, "1 r1: main=img:1"); /* the source is well again */
	assert_null(reconcile_target_problem(w->r));
	assert_int_equal(reconcile_seq(w->r), seq);
}

static void a_source_that_cannot_be_read_is_told_once_until_it_is_well(void **state)
{
	struct world *w = *state;
	struct err err = {0};

	run_first(w);
	err_set(&err, -EIO, "no such thing");
	reconcile_target_failed(w->r, &err);
	reconcile_target_failed(w->r, &err);
	assert_string_equal(reconcile_target_problem(w->r), "no such thing");
	assert_int_equal(logged(w, " target_rejected "), 1);
	reconcile_target_unchanged(w->r);
	reconcile_target_unchanged(w->r);
	assert_null(reconcile_target_problem(w->r));
	assert_int_equal(logged(w, " target_unchanged "), 1);
}

/* -------- force -------- */

static void force_breaks_the_lock_in_the_apply_that_is_blocked_and_ends_with_it(void **state)
{
	struct world *w = *state;
	uint64_t seq;

	run_first(w);
	assert_true(app_locks(w, 1, "main"));
	offer(w, "1 r2: main=img:2");
	RUN_UNTIL(w->loop, wait_of(w, WAIT_LOCKED));
	seq = reconcile_update(w->r, true, false);
	RUN_UNTIL(w->loop, reconcile_app_settled(w->r, 1)); /* without waiting for the look */
	assert_int_equal(logged(w, " lock_overridden "), 1);
	assert_true(reconcile_settled_seq(w->r) < seq);
	reconcile_look_done(w->r);
	RUN_UNTIL(w->loop, reconcile_settled_seq(w->r) == seq);
	assert_true(app_locks(w, 1, "main"));
	offer(w, "1 r3: main=img:1");
	RUN_UNTIL(w->loop, wait_of(w, WAIT_LOCKED));
	world_pass(w, 20);
	assert_int_equal(asked_count(w, STOPS), 1);
	assert_int_equal(logged(w, " lock_overridden "), 1);
}

static void force_counts_for_the_document_that_its_look_brings(void **state)
{
	struct world *w = *state;

	run_first(w);
	assert_true(app_locks(w, 1, "main"));
	reconcile_update(w->r, true, false);
	world_pass(w, 20); /* nothing to do yet: settled, and the look goes on */
	offer(w, "1 r2: main=img:2");
	reconcile_look_done(w->r);
	RUN_UNTIL(w->loop, world_settled(w));
	assert_int_equal(asked_count(w, STOPS), 1);
	assert_int_equal(logged(w, " update_blocked "), 0);
	assert_int_equal(logged(w, " lock_overridden "), 1);
}

static void force_counts_for_an_app_that_the_document_of_its_look_removes(void **state)
{
	struct world *w = *state;

	fake_add_image(w, "img:1");
	world_run(w, "1 r1: main=img:1; 2 s1: other=img:1");
	assert_true(app_locks(w, 2, "other"));
	reconcile_update(w->r, true, false);
	offer(w, "1 r1: main=img:1");
	reconcile_look_done(w->r);
	RUN_UNTIL(w->loop, world_settled(w));
	assert_int_equal(logged(w, " update_blocked "), 0);
	assert_int_equal(logged(w, " lock_overridden "), 1);
}

static void force_does_not_count_for_a_document_that_comes_after_its_look(void **state)
{
	struct world *w = *state;

	run_first(w);
	assert_true(app_locks(w, 1, "main"));
	reconcile_update(w->r, true, false);
	reconcile_look_done(w->r);
	offer(w, "1 r2: main=img:2");
	RUN_UNTIL(w->loop, wait_of(w, WAIT_LOCKED));
	world_pass(w, 20);
	assert_int_equal(asked_count(w, STOPS), 0);
	assert_int_equal(logged(w, " lock_overridden "), 0);
}

static void force_does_not_count_for_what_changes_after_its_app_settled(void **state)
{
	struct world *w = *state;

	run_first(w);
	assert_true(app_locks(w, 1, "main"));
	offer(w, "1 r2: main=img:2+tty");
	reconcile_update(w->r, true, false);
	reconcile_look_done(w->r);
	RUN_UNTIL(w->loop, world_settled(w));
	assert_true(app_locks(w, 1, "main"));
	w->drops_tty = true; /* somebody made it anew in another way, say */
	fake_say(w, "container", "update", fake_of(w, "main")->id);
	RUN_UNTIL(w->loop, wait_of(w, WAIT_LOCKED) || asked_count(w, STOPS) > 1);
	assert_int_equal(asked_count(w, STOPS), 1);
	assert_int_equal(logged(w, " lock_overridden "), 1);
}

static void force_outlives_a_restart_until_the_app_settles(void **state)
{
	struct world *w = *state;

	run_first(w);
	assert_true(app_locks(w, 1, "main"));
	offer(w, "1 r2: main=img:2");
	RUN_UNTIL(w->loop, wait_of(w, WAIT_LOCKED));
	reconcile_update(w->r, true, false);
	world_close(w); /* before anything came of it */
	assert_int_equal(asked_count(w, STOPS), 0);
	world_open(w, "nonce-2");
	RUN_UNTIL(w->loop, reconcile_app_settled(w->r, 1));
	assert_int_equal(asked_count(w, STOPS), 1);
	assert_int_equal(logged(w, " lock_overridden "), 1);
	assert_true(app_locks(w, 1, "main"));
	reconcile_look_done(w->r); /* the look ended with the same document */
	RUN_UNTIL(w->loop, world_settled(w));
	offer(w, "1 r3: main=img:1");
	RUN_UNTIL(w->loop, wait_of(w, WAIT_LOCKED));
	assert_int_equal(asked_count(w, STOPS), 1);
}

static void force_outlives_a_restart_before_its_look_brought_the_document(void **state)
{
	struct world *w = *state;

	run_first(w);
	assert_true(app_locks(w, 1, "main"));
	reconcile_update(w->r, true, false);
	world_pass(w, 20); /* settled long ago: nothing but the look is left of it */
	world_close(w);
	for (int run = 2; run <= 3; run++) { /* the first start's look ends it: the second knows nothing of it */
		AUTO_FREE char *nonce = mem_printf("nonce-%d", run);

		world_open(w, nonce);
		offer(w, run == 2 ? "1 r2: main=img:2" : "1 r3: main=img:1");
		reconcile_look_done(w->r);
		RUN_UNTIL(w->loop, run == 2 ? world_settled(w) : !!wait_of(w, WAIT_LOCKED));
		assert_int_equal(asked_count(w, STOPS), 1);
		assert_int_equal(logged(w, " lock_overridden "), 1);
		assert_true(run == 3 || app_locks(w, 1, "main"));
		world_close(w);
	}
}

static void a_force_is_on_disk_when_its_asker_is_told(void **state)
{
	struct world *w = *state;
	AUTO_FREE char *text = NULL;
	bool told = false;

	run_first(w);
	world_pass(w, 20);
	reconcile_update(w->r, true, false);
	reconcile_when_saved(w->r, check_set_flag, &told);
	assert_false(told);
	RUN_UNTIL(w->loop, told);
	text = kept(w, "ledger.json");
	assert_non_null(strstr(text, "\"lookForces\":true"));
	told = false;
	reconcile_when_saved(w->r, check_set_flag, &told); /* and nobody is forgotten who asks right before the end */
	world_close(w);
	assert_true(told);
}

static void who_forces_is_told_also_while_the_ledger_cannot_be_written(void **state)
{
	struct world *w = *state;

	run_first(w);
	world_pass(w, 20);
	assert_int_equal(unlinkat(w->f->dir_fd, "state/ledger.json", 0), 0);
	assert_int_equal(mkdirat(w->f->dir_fd, "state/ledger.json", 0700), 0);
	for (int i = 0; i < 2; i++) { /* the second comes while the disk is left alone for a moment */
		bool told = false;

		reconcile_update(w->r, true, false);
		reconcile_when_saved(w->r, check_set_flag, &told);
		RUN_UNTIL(w->loop, told);
		assert_true(logged(w, " store_failed ") > 0);
	}
	assert_int_equal(unlinkat(w->f->dir_fd, "state/ledger.json", AT_REMOVEDIR), 0);
}

/* -------- from one run to the next -------- */

/* The locks say it until then: a crash right after their release would leave it down for as long as another is locked.
 */
static void locks_are_given_back_when_it_is_on_disk_what_is_down(void **state)
{
	struct world *w = *state;
	AUTO_FREE char *text = NULL;

	run_first(w);
	world_pass(w, 20);
	rule_add(w, CREATES, RULE_ANSWER, 500, 1);
	offer(w, "1 r2: main=img:2");
	RUN_UNTIL(w->loop, logged(w, " lock_released "));
	text = kept(w, "ledger.json");
	assert_non_null(strstr(text, "\"armed\":true"));
	RUN_UNTIL(w->loop, world_settled(w));
}

/* Else a crash in between would make both anew, and replace every container for that. */
static void a_container_is_made_with_what_is_on_disk_only(void **state)
{
	struct world *w = *state;

	fake_add_image(w, "img:1");
	world_open(w, "nonce-1");
	offer(w, "1 r1: main=img:1+api side=img:1+api");
	for (unsigned n = 1; n <= 2; n++) {
		AUTO_FREE char *device = NULL, *keys = NULL;

		RUN_UNTIL(w->loop, asked_count(w, CREATES) >= n);
		device = kept(w, "device.json");
		keys = kept(w, "keys.json");
		assert_non_null(strstr(device, w->facts.uuid));
		assert_non_null(strstr(keys, keys_find_service(w->keys, 1, "main")));
		assert_non_null(strstr(keys, keys_find_service(w->keys, 1, "side")));
	}
	RUN_UNTIL(w->loop, world_settled(w));
	assert_int_equal(asked_count(w, CREATES), 2);
}

static void a_container_is_made_although_the_uuid_of_the_device_cannot_be_kept(void **state)
{
	struct world *w = *state;

	fake_add_image(w, "img:1");
	world_open(w, "nonce-1");
	assert_int_equal(mkdirat(w->f->dir_fd, "state/device.json", 0700), 0);
	offer(w, "1 r1: main=img:1");
	RUN_UNTIL(w->loop, world_settled(w));
	assert_int_equal(logged(w, " store_failed name=device "), 1);
	assert_int_equal(unlinkat(w->f->dir_fd, "state/device.json", AT_REMOVEDIR), 0);
}

static void a_container_is_made_although_its_key_cannot_be_kept(void **state)
{
	struct world *w = *state;

	run_first(w);
	world_pass(w, 20);
	assert_int_equal(unlinkat(w->f->dir_fd, "state/keys.json", 0), 0);
	assert_int_equal(mkdirat(w->f->dir_fd, "state/keys.json", 0700), 0);
	offer(w, "1 r2: main=img:1+api");
	RUN_UNTIL(w->loop, world_settled(w));
	assert_int_equal(logged(w, " store_failed name=keys "), 1);
	assert_int_equal(unlinkat(w->f->dir_fd, "state/keys.json", AT_REMOVEDIR), 0);
}

static int64_t since_of_lock_wait(struct world *w)
{
	const struct plan *p = reconcile_plan(w->r);

	for (size_t i = 0; i < p->n_waits; i++)
		if (p->waits[i].kind == WAIT_LOCKED)
			return reconcile_wait_since(w->r, i);
	return 0;
}

/* As if the wait had begun a minute before; the files are ours alone while nobody runs. */
static void age_kept_wait(struct world *w, int64_t since)
{
	AUTO_FREE char *text = kept(w, "ledger.json");
	AUTO_FREE char *now = mem_printf("\"since\":%lld", (long long)since);
	AUTO_FREE char *older = mem_printf("\"since\":%lld", (long long)since - 60000);
	char *at = strstr(text, now);

	assert_non_null(at);
	memcpy(at, older, strlen(older));
	check_write_file(w->f->dir_fd, "state/ledger.json", text);
}

static void a_wait_for_a_lock_goes_on_from_run_to_run_and_is_forgotten_when_it_ends(void **state)
{
	struct world *w = *state;
	AUTO_FREE char *log = NULL, *text = NULL;
	int64_t since;

	run_first(w);
	assert_true(app_locks(w, 1, "main"));
	offer(w, "1 r2: main=img:2");
	RUN_UNTIL(w->loop, wait_of(w, WAIT_LOCKED));
	since = since_of_lock_wait(w);
	world_close(w);
	age_kept_wait(w, since);
	world_open(w, "nonce-2");
	RUN_UNTIL(w->loop, wait_of(w, WAIT_LOCKED));
	assert_int_equal(since_of_lock_wait(w), since - 60000);
	app_unlocks(w, 1, "main");
	RUN_UNTIL(w->loop, world_settled(w));
	log = world_log(w);
	assert_non_null(strstr(log, " blocked_ms=6")); /* of the whole wait */
	world_close(w);
	text = kept(w, "ledger.json");
	assert_non_null(strstr(text, "\"waits\":[]"));
	world_open(w, "nonce-3");
	RUN_UNTIL(w->loop, world_settled(w));
	assert_true(app_locks(w, 1, "main"));
	offer(w, "1 r3: main=img:1");
	RUN_UNTIL(w->loop, wait_of(w, WAIT_LOCKED));
	assert_true(since_of_lock_wait(w) >= since); /* another wait */
}

static void a_wait_that_ended_while_nobody_ran_is_not_taken_up_again(void **state)
{
	struct world *w = *state;
	int64_t since;

	run_first(w);
	assert_true(app_locks(w, 1, "main"));
	offer(w, "1 r2: main=img:2");
	RUN_UNTIL(w->loop, wait_of(w, WAIT_LOCKED));
	since = since_of_lock_wait(w);
	world_close(w);
	age_kept_wait(w, since);
	app_unlocks(w, 1, "main");
	world_open(w, "nonce-2");
	RUN_UNTIL(w->loop, world_settled(w));
	assert_true(app_locks(w, 1, "main"));
	offer(w, "1 r3: main=img:1");
	RUN_UNTIL(w->loop, wait_of(w, WAIT_LOCKED));
	assert_true(since_of_lock_wait(w) >= since);
}

static void a_wait_ends_with_a_reboot(void **state)
{
	struct world *w = *state;
	int64_t since;

	run_first(w);
	assert_true(app_locks(w, 1, "main"));
	offer(w, "1 r2: main=img:2");
	RUN_UNTIL(w->loop, wait_of(w, WAIT_LOCKED));
	since = since_of_lock_wait(w);
	world_close(w);
	age_kept_wait(w, since);
	free(w->facts.boot_id);
	w->facts.boot_id = mem_strdup("boot-2");
	world_open(w, "nonce-2");
	RUN_UNTIL(w->loop, wait_of(w, WAIT_LOCKED));
	assert_true(since_of_lock_wait(w) >= since);
}

static void what_a_newer_program_kept_is_used_as_far_as_it_is_understood(void **state)
{
	struct world *w = *state;
	AUTO_FREE char *text = NULL, *again = NULL;
	char *schema;

	run_first(w);
	world_close(w);
	text = kept(w, "ledger.json");
	schema = strstr(text, "\"schema\":1");
	assert_non_null(schema);
	schema[strlen("\"schema\":")] = '9';
	check_write_file(w->f->dir_fd, "state/ledger.json", text);
	asked_clear(w);
	world_open(w, "nonce-2");
	RUN_UNTIL(w->loop, world_settled(w));
	assert_int_equal(asked_count(w, CHANGES), 0);
	assert_string_equal(reconcile_settled_commit(w->r, 1), "r1");
	assert_int_equal(logged(w, " store_newer "), 1);
	again = kept(w, "ledger.json.schema-9");
	assert_string_equal(again, text);
}

static void the_stored_target_stands_after_a_restart_and_its_number_grows_on(void **state)
{
	struct world *w = *state;
	uint64_t seq;

	run_first(w);
	seq = reconcile_update(w->r, false, false);
	reconcile_look_done(w->r);
	RUN_UNTIL(w->loop, world_settled(w));
	world_close(w);
	asked_clear(w);
	world_open(w, "nonce-2");
	assert_int_equal(reconcile_seq(w->r), seq);
	RUN_UNTIL(w->loop, world_settled(w));
	assert_int_equal(asked_count(w, CHANGES), 0);
	assert_string_equal(reconcile_settled_commit(w->r, 1), "r1");
}

static int64_t last_took_ms(struct world *w)
{
	AUTO_FREE char *log = world_log(w);
	const char *line = NULL, *took;

	for (const char *s = log; (s = strstr(s, " app_settled ")); s++)
		line = s;
	took = line ? strstr(line, " took_ms=") : NULL;
	assert_non_null(took);
	return strtoll(took + strlen(" took_ms="), NULL, 10);
}

static void what_an_app_took_counts_from_the_question_and_never_idle_time(void **state)
{
	struct world *w = *state;
	int64_t asked_ms;

	run_first(w);
	world_pass(w, 300);
	asked_ms = loop_now_ms(w->loop);
	reconcile_update(w->r, false, false);
	reconcile_look_done(w->r);
	RUN_UNTIL(w->loop, world_settled(w));
	assert_in_range(last_took_ms(w), 0, loop_now_ms(w->loop) - asked_ms);
	world_pass(w, 300);
	asked_ms = loop_now_ms(w->loop);
	offer(w, "1 r2: main=img:2");
	RUN_UNTIL(w->loop, world_settled(w));
	assert_in_range(last_took_ms(w), 0, loop_now_ms(w->loop) - asked_ms);
}

/* A raw DEL is one byte of JSON, and six of the string that the store keeps. */
static void the_largest_document_that_is_accepted_is_kept(void **state)
{
	struct world *w = *state;
	AUTO_FREE char *small = document_of("1 r1: main=img:1"), *text = NULL;
	size_t len = strlen(small), at;

	text = mem_new(TARGET_MAX_BYTES + 1, 1);
	memset(text, 0x7f, TARGET_MAX_BYTES);
	at = (size_t)sprintf(text, "{\"x\":\"");
	text[at] = 0x7f;
	memcpy(text + TARGET_MAX_BYTES - len - 1, "\",", 2);
	memcpy(text + TARGET_MAX_BYTES - len + 1, small + 1, len - 1);
	fake_add_image(w, "img:1");
	world_open(w, "nonce-1");
	assert_int_equal(reconcile_offer_target(w->r, text, TARGET_MAX_BYTES, NULL), 0);
	RUN_UNTIL(w->loop, world_settled(w));
	world_close(w);
	assert_int_equal(logged(w, " store_failed "), 0);
	world_open(w, "nonce-2");
	assert_non_null(reconcile_target(w->r));
	assert_int_equal(logged(w, " target_restored "), 1);
}

static void corrupt_files_are_set_aside_and_no_service_is_touched(void **state)
{
	static const char *const rows[][2] = {
		{"target", "{\"schema\":1,"},
		{"ledger", "{\"schema\":1,"},
		{"target", "{\"schema\":0}"}, /* of another program */
		{"ledger", "{\"schema\":0}"},
	};
	struct world *w = *state;

	run_first(w);
	world_close(w);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO_FREE char *path = mem_printf("state/%s.json", rows[i][0]);
		AUTO_FREE char *aside = mem_printf("state/%s.json.corrupt", rows[i][0]);

		unlinkat(w->f->dir_fd, aside, 0);
		check_write_file(w->f->dir_fd, path, rows[i][1]);
		asked_clear(w);
		world_open(w, "nonce-2");
		RUN_UNTIL(w->loop, reconcile_current(w->r)->known);
		offer(w, "1 r1: main=img:1"); /* the source still has it */
		RUN_UNTIL(w->loop, world_settled(w));
		assert_int_equal(asked_count(w, CHANGES), 0);
		assert_int_equal(faccessat(w->f->dir_fd, aside, F_OK, 0), 0);
		assert_int_equal(logged(w, " store_corrupt "), i + 1);
		world_close(w);
	}
}

static void an_app_stays_ours_after_the_ledger_was_lost_as_long_as_the_target_names_it(void **state)
{
	struct world *w = *state;

	run_first(w);
	world_close(w);
	check_write_file(w->f->dir_fd, "state/ledger.json", "{");
	world_open(w, "nonce-2");
	RUN_UNTIL(w->loop, reconcile_current(w->r)->known);
	assert_true(app_locks(w, 1, "main"));
	RUN_UNTIL(w->loop, logged(w, " lock_seen ")); /* it is watched */
	app_unlocks(w, 1, "main");
	offer(w, "");
	RUN_UNTIL(w->loop, world_settled(w));
	assert_int_equal(w->n_containers, 0);
}

static void without_a_target_nothing_is_touched(void **state)
{
	struct world *w = *state;

	fake_add_image(w, "img:1");
	world_open(w, "nonce-1");
	RUN_UNTIL(w->loop, reconcile_current(w->r)->known);
	world_pass(w, 20);
	assert_null(reconcile_target(w->r));
	assert_int_equal(asked_count(w, CHANGES), 0);
}

static void a_dry_run_makes_no_key_and_changes_nothing(void **state)
{
	struct world *w = *state;
	AUTO_FREE char *text = document_of("1 r2: main=img:2");
	struct target_errors errors = {0};
	struct target *t = NULL;
	struct plan plan;
	uint64_t version;

	run_first(w);
	world_pass(w, 50); /* what the beginning wrote is durable */
	version = reconcile_version(w->r);
	assert_int_equal(target_parse(text, strlen(text), &(struct target_options){.standalone = true}, &t, &errors),
			 0);
	reconcile_dry_run(w->r, t, &plan);
	assert_int_equal(plan.n_steps, 1);
	assert_int_equal(plan.steps[0].kind, STEP_TAKE_LOCKS);
	plan_deinit(&plan);
	target_free(t);
	world_pass(w, 20);
	assert_int_equal(reconcile_version(w->r), version);
	assert_int_equal(asked_count(w, CHANGES), 0);
	assert_false(lock_exists(w, 1, "main"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(a_service_is_on_record_before_its_stop_is_sent),
		WORLD_TEST(nothing_is_stopped_while_the_ledger_cannot_be_written),
		WORLD_TEST(a_service_that_was_stopped_comes_back_in_the_next_run_although_another_one_is_locked_now),
		WORLD_TEST(what_was_recorded_while_the_update_was_blocked_counts_for_nothing_later),
		WORLD_TEST(a_service_whose_update_is_blocked_is_nobodys_to_remove_when_a_person_stops_it),
		WORLD_TEST(
			a_service_that_was_stopped_before_the_power_failed_comes_back_although_another_one_is_locked_now),
		WORLD_TEST(a_pull_that_no_target_wants_any_more_is_cancelled),
		WORLD_TEST(an_update_with_cancel_drops_a_pull_and_begins_it_again),
		WORLD_TEST(an_update_without_cancel_lets_a_pull_go_on),
		WORLD_TEST(a_pull_that_fails_waits_longer_each_time_and_an_update_ends_the_wait),
		WORLD_TEST(the_same_document_again_is_no_new_target),
		WORLD_TEST(an_update_is_settled_when_its_look_is_done_not_before),
		WORLD_TEST(an_update_that_brings_a_document_is_settled_with_that),
		WORLD_TEST(a_refused_document_says_why_changes_nothing_and_lets_the_update_settle),
		WORLD_TEST(a_source_that_cannot_be_read_is_told_once_until_it_is_well),
		WORLD_TEST(force_breaks_the_lock_in_the_apply_that_is_blocked_and_ends_with_it),
		WORLD_TEST(force_counts_for_the_document_that_its_look_brings),
		WORLD_TEST(force_counts_for_an_app_that_the_document_of_its_look_removes),
		WORLD_TEST(force_does_not_count_for_a_document_that_comes_after_its_look),
		WORLD_TEST(force_does_not_count_for_what_changes_after_its_app_settled),
		WORLD_TEST(force_outlives_a_restart_until_the_app_settles),
		WORLD_TEST(force_outlives_a_restart_before_its_look_brought_the_document),
		WORLD_TEST(a_force_is_on_disk_when_its_asker_is_told),
		WORLD_TEST(locks_are_given_back_when_it_is_on_disk_what_is_down),
		WORLD_TEST(a_container_is_made_with_what_is_on_disk_only),
		WORLD_TEST(a_container_is_made_although_the_uuid_of_the_device_cannot_be_kept),
		WORLD_TEST(a_container_is_made_although_its_key_cannot_be_kept),
		WORLD_TEST(who_forces_is_told_also_while_the_ledger_cannot_be_written),
		WORLD_TEST(a_wait_for_a_lock_goes_on_from_run_to_run_and_is_forgotten_when_it_ends),
		WORLD_TEST(a_wait_that_ended_while_nobody_ran_is_not_taken_up_again),
		WORLD_TEST(a_wait_ends_with_a_reboot),
		WORLD_TEST(what_a_newer_program_kept_is_used_as_far_as_it_is_understood),
		WORLD_TEST(the_stored_target_stands_after_a_restart_and_its_number_grows_on),
		WORLD_TEST(what_an_app_took_counts_from_the_question_and_never_idle_time),
		WORLD_TEST(the_largest_document_that_is_accepted_is_kept),
		WORLD_TEST(corrupt_files_are_set_aside_and_no_service_is_touched),
		WORLD_TEST(an_app_stays_ours_after_the_ledger_was_lost_as_long_as_the_target_names_it),
		WORLD_TEST(without_a_target_nothing_is_touched),
		WORLD_TEST(a_dry_run_makes_no_key_and_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
