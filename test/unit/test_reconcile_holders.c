/* Who blocks an update: found out once when the wait begins, told once, and always before the wait is told to be over. */
#include "reconcile_fixture.h"

#include "loop/file.h"

static void run_first(struct world *w)
{
	fake_add_image(w, "img:1");
	fake_add_image(w, "img:2");
	world_run(w, "1 r1: main=img:1");
}

static void proc_write(struct world *w, const char *name, const char *text)
{
	AUTO_FREE char *path = mem_printf("proc/77/%s", name);

	check_write_file(w->f->dir_fd, path, text);
}

/* Process 77, "app", in the container of a service, has the lock of main open. */
static void add_holder(struct world *w)
{
	AUTO_FREE char *lock = lock_path_of(w, 1, "main");
	AUTO_FREE char *cgroup = mem_printf("0::/docker/%s\n", fake_of(w, "main")->id);

	assert_int_equal(mkdirat(w->f->dir_fd, "proc", 0755), 0);
	assert_int_equal(mkdirat(w->f->dir_fd, "proc/77", 0755), 0);
	assert_int_equal(mkdirat(w->f->dir_fd, "proc/77/fd", 0755), 0);
	assert_int_equal(symlinkat(lock, w->f->dir_fd, "proc/77/fd/3"), 0);
	proc_write(w, "comm", "app\n");
	proc_write(w, "cgroup", cgroup);
	proc_write(w, "status", "Name:\tapp\nNSpid:\t77\t5\n");
	proc_write(w, "stat", "77 (app) S 1 1 1 0 -1 0 1 0 0 0 1 1 0 0 20 0 1 0 1 1 1 1\n");
}

static void write_reason(struct world *w)
{
	AUTO_FREE char *path = lock_path_of(w, 1, "main");
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	assert_int_equal(write(fd, "update-lock 1 5\ncopying\n", 24), 24);
	close(fd);
}

static void an_update_that_waits_tells_whose_lock_it_is_and_why(void **state)
{
	struct world *w = *state;
	AUTO_FREE char *wanted = NULL, *log = NULL;
	const struct lock_views *views;

	run_first(w);
	assert_true(app_locks(w, 1, "main"));
	write_reason(w);
	add_holder(w);
	offer(w, "1 r2: main=img:2");
	RUN_UNTIL(w->loop, logged(w, " update_blocked "));
	wanted = mem_printf("services=main holder=\"app (pid 77)\" container=%.12s reason=copying since=",
			    fake_of(w, "main")->id);
	log = world_log(w);
	assert_non_null(strstr(log, wanted));
	views = reconcile_locks(w->r);
	assert_int_equal(views->n, 1);
	assert_string_equal(views->v[0].container_id, fake_of(w, "main")->id);

	app_unlocks(w, 1, "main");
	RUN_UNTIL(w->loop, world_settled(w));
	assert_int_equal(logged(w, " holder=\"app (pid 77)\" "), 2); /* and when it went */
	assert_int_equal(logged(w, " update_blocked "), 1);
	assert_int_equal(logged(w, " update_resumed "), 1);
}

static void a_lock_that_force_breaks_is_told_with_its_holder(void **state)
{
	struct world *w = *state;
	AUTO_FREE char *log = NULL, *line = NULL;

	run_first(w);
	assert_true(app_locks(w, 1, "main"));
	add_holder(w);
	offer(w, "1 r2: main=img:2");
	RUN_UNTIL(w->loop, logged(w, " update_blocked "));
	reconcile_update(w->r, true, false);
	reconcile_look_done(w->r);
	RUN_UNTIL(w->loop, world_settled(w));
	log = world_log(w);
	assert_non_null(strstr(log, " lock_overridden "));
	line = mem_strdup(strstr(log, " lock_overridden "));
	line[strcspn(line, "\n")] = '\0';
	assert_non_null(strstr(line, " by=api holder=\"app (pid 77)\" since="));
}

/* -------- a scan that takes its time -------- */

#define POOL_THREADS 4 /* libuv's */

struct pool { /* all threads of the pool wait for this pipe to close */
	int pipe[2];
	unsigned left;
};

static void on_pool_work(void *ctx)
{
	const struct pool *p = ctx;
	char byte;

	(void)!read(p->pipe[0], &byte, 1);
}

static void on_pool_done(void *ctx)
{
	((struct pool *)ctx)->left--;
}

static void pool_block(struct world *w, struct pool *p)
{
	assert_int_equal(pipe2(p->pipe, O_CLOEXEC), 0);
	for (p->left = 0; p->left < POOL_THREADS; p->left++)
		loop_work(w->loop, on_pool_work, on_pool_done, p);
}

static void a_wait_that_ends_before_its_holder_is_known_is_told_first_without_it(void **state)
{
	struct world *w = *state;
	AUTO_FREE char *log = NULL;
	struct pool pool;

	run_first(w);
	assert_true(app_locks(w, 1, "main"));
	add_holder(w);
	pool_block(w, &pool);
	offer(w, "1 r2: main=img:2");
	RUN_UNTIL(w->loop, wait_of(w, WAIT_LOCKED));
	assert_int_equal(logged(w, " update_blocked "), 0);
	app_unlocks(w, 1, "main");
	RUN_UNTIL(w->loop, logged(w, " update_resumed "));
	log = world_log(w);
	assert_non_null(strstr(log, " update_blocked "));
	assert_true(strstr(log, " update_blocked ") < strstr(log, " update_resumed "));
	assert_non_null(strstr(log, "/tmp/locks/1/main/updates.lock services=main since=")); /* but with the lock */
	close(pool.pipe[1]);
	RUN_UNTIL(w->loop, !pool.left && world_settled(w));
	close(pool.pipe[0]);
	assert_int_equal(logged(w, " update_blocked "), 1);
	assert_int_equal(logged(w, " update_resumed "), 1);
	assert_int_equal(logged(w, " holder="), 0);
}

static void at_the_end_a_wait_is_told_too_and_the_scan_is_waited_for(void **state)
{
	struct world *w = *state;
	struct pool pool;

	run_first(w);
	assert_true(app_locks(w, 1, "main"));
	pool_block(w, &pool);
	offer(w, "1 r2: main=img:2");
	RUN_UNTIL(w->loop, wait_of(w, WAIT_LOCKED));
	assert_int_equal(logged(w, " update_blocked "), 0);
	close(pool.pipe[1]); /* nobody hears of it before the loop turns again */
	world_close(w);
	RUN_UNTIL(w->loop, !pool.left);
	close(pool.pipe[0]);
	assert_int_equal(logged(w, " update_blocked "), 1);
	assert_int_equal(logged(w, " update_resumed "), 0);
}

/* -------- asked from outside -------- */

static void on_explained(void *ctx)
{
	++*(unsigned *)ctx;
}

static void who_asks_is_answered_once_and_never_before_the_call_returns(void **state)
{
	struct world *w = *state;
	unsigned answers = 0;

	run_first(w);
	reconcile_explain_locks(w->r, on_explained, &answers); /* no lock: nothing to look for */
	assert_int_equal(answers, 0);
	RUN_UNTIL(w->loop, answers == 1);
	assert_true(app_locks(w, 1, "main"));
	RUN_UNTIL(w->loop, reconcile_locks(w->r)->n == 1);
	fake_die(w, fake_of(w, "main"));
	RUN_UNTIL(w->loop, reconcile_current(w->r)->containers[0].state == CONTAINER_EXITED);
	reconcile_explain_locks(w->r, on_explained, &answers);
	assert_int_equal(answers, 1);
	RUN_UNTIL(w->loop, answers == 2);
	assert_int_equal(reconcile_locks(w->r)->v[0].stale, LOCK_STALE_YES); /* nothing of the service runs */
	reconcile_explain_locks(w->r, on_explained, &answers);
	world_close(w); /* answers first */
	assert_int_equal(answers, 3);
}

static void a_wait_soon_after_a_look_is_told_at_once(void **state)
{
	struct world *w = *state;

	run_first(w);
	assert_true(app_locks(w, 1, "main"));
	offer(w, "1 r2: main=img:2");
	RUN_UNTIL(w->loop, logged(w, " update_blocked "));
	app_unlocks(w, 1, "main");
	RUN_UNTIL(w->loop, world_settled(w));
	assert_true(app_locks(w, 1, "main"));
	offer(w, "1 r3: main=img:1");
	RUN_UNTIL(w->loop, wait_of(w, WAIT_LOCKED));
	assert_int_equal(logged(w, " update_blocked "), 2); /* not a second later */
}

static void the_end_does_not_wait_for_a_look_that_has_not_begun(void **state)
{
	struct world *w = *state;
	unsigned answers = 0;
	int64_t asked_ms;

	run_first(w);
	assert_true(app_locks(w, 1, "main"));
	RUN_UNTIL(w->loop, reconcile_locks(w->r)->n == 1);
	reconcile_explain_locks(w->r, on_explained, &answers);
	RUN_UNTIL(w->loop, answers == 1);
	app_unlocks(w, 1, "main");
	RUN_UNTIL(w->loop, reconcile_locks(w->r)->n == 0);
	assert_true(app_locks(w, 1, "main")); /* another one */
	RUN_UNTIL(w->loop, reconcile_locks(w->r)->n == 1);
	reconcile_explain_locks(w->r, on_explained, &answers);
	world_pass(w, 20);
	assert_int_equal(answers, 1); /* its turn comes a second after the first */
	asked_ms = loop_now_ms(w->loop);
	world_close(w);
	assert_int_equal(answers, 2);
	assert_true(loop_now_ms(w->loop) - asked_ms < 500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(an_update_that_waits_tells_whose_lock_it_is_and_why),
		WORLD_TEST(a_lock_that_force_breaks_is_told_with_its_holder),
		WORLD_TEST(a_wait_soon_after_a_look_is_told_at_once),
		WORLD_TEST(the_end_does_not_wait_for_a_look_that_has_not_begun),
		WORLD_TEST(a_wait_that_ends_before_its_holder_is_known_is_told_first_without_it),
		WORLD_TEST(at_the_end_a_wait_is_told_too_and_the_scan_is_waited_for),
		WORLD_TEST(who_asks_is_answered_once_and_never_before_the_call_returns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
