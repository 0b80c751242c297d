/* http_pipe against a scripted engine on a real Unix socket. */
#include "net/http_pipe.h"

#include <sys/socket.h>
#include <sys/un.h>

#include "check.h"
#include "http_peer.h"

static struct http_peer peer;
static struct http_pipe *pipe_;
static bool stopped;

static int setup(void **state)
{
	struct check_fixture *f;

	check_setup(state);
	f = *state;
	peer_start_unix(&peer, f->loop, f->dir);
	pipe_ = http_pipe_new(f->loop, peer.address);
	stopped = false;
	return 0;
}

static int teardown(void **state)
{
	struct check_fixture *f = *state;

	http_pipe_stop(pipe_, check_set_flag, &stopped);
	assert_false(stopped);
	RUN_UNTIL(f->loop, stopped);
	peer_stop(&peer);
	return check_teardown(state);
}

static struct http_call *get(struct outcome *o, const char *target)
{
	return http_pipe_call(pipe_, &(struct http_request){.method = "GET", .target = target}, outcome_done, o);
}

/* A GET whose answer is `answer`; the peer hangs up behind it when `end`. */
static struct outcome answered(struct check_fixture *f, const char *answer, bool end)
{
	struct outcome o = {0};

	peer.answer = answer;
	peer.hang_up = end;
	get(&o, "/x");
	RUN_UNTIL(f->loop, o.n_done);
	return o;
}

static void an_answer_arrives_with_status_headers_and_body(void **state)
{
	struct outcome o =
		answered(*state, "HTTP/1.1 200 OK\r\nContent-Type:  a/b  \r\nContent-Length: 5\r\n\r\nhello", false);

	assert_int_equal(o.code, 0);
	assert_int_equal(o.status, 200);
	assert_string_equal(o.body, "hello");
	assert_string_equal(o.type, "a/b");
	assert_string_equal(peer.last, "GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n");
}

static void bodies_come_sized_chunked_or_until_the_end(void **state)
{
	static const struct {
		const char *answer;
		bool end;
		const char *body;
		int status;
	} rows[] = {
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", false,
		 "abcde", 200},
		{"HTTP/1.1 200 OK\r\n\r\nuntil the end", true, "until the end", 200},
		{"HTTP/1.0 200 OK\r\n\r\nold", true, "old", 200},
		{"HTTP/1.1 204 No Content\r\n\r\n", false, "", 204},
		{"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", false, "", 304},
		{"HTTP/1.1 100 Continue\r\nX: y\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nz", false, "z", 200},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nContent-Type: t\r\n\r\n", false,
		 "a", 200},
		{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Empty:\r\n\r\nok", false, "ok", 200},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct outcome o = answered(*state, rows[i].answer, rows[i].end);

		assert_int_equal(o.code, 0);
		assert_int_equal(o.status, rows[i].status);
		assert_string_equal(o.body, rows[i].body);
		assert_string_equal(o.type, "");
	}
}

static void a_head_request_has_no_body_to_wait_for(void **state)
{
	struct check_fixture *f = *state;
	struct outcome o = {0};

	peer.answer = "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n";
	http_pipe_call(pipe_, &(struct http_request){.method = "HEAD", .target = "/_ping"}, outcome_done, &o);
	RUN_UNTIL(f->loop, o.n_done);
	assert_int_equal(o.code, 0);
	assert_int_equal(o.status, 200);
}

static void the_request_is_in_the_socket_when_the_call_returns(void **state)
{
	struct check_fixture *f = *state;
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0), conn;
	struct http_pipe *p;
	struct outcome o = {0};
	bool gone = false;
	char in[512];
	ssize_t n;

	snprintf(a.sun_path, sizeof(a.sun_path), "%s/raw.sock", f->dir);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 4), 0);
	p = http_pipe_new(f->loop, a.sun_path);
	http_pipe_call(p, &(struct http_request){.method = "POST", .target = "/stop", .body = "{}", .body_len = 2},
		       outcome_done, &o);
	conn = accept(fd, NULL, NULL);
	assert_true(conn >= 0);
	n = recv(conn, in, sizeof(in) - 1, MSG_DONTWAIT);
	assert_true(n > 0);
	in[n] = '\0';
	assert_string_equal(in, "POST /stop HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}");
	http_pipe_stop(p, check_set_flag, &gone);
	RUN_UNTIL(f->loop, gone);
	assert_int_equal(o.code, -ECANCELED);
	close(conn);
	close(fd);
}

static void no_result_comes_before_the_call_returned(void **state)
{
	struct check_fixture *f = *state;
	char too_long[200] = "/";
	const struct {
		const char *path;
		struct http_request req;
		int code;
	} rows[] = {
		{"/nonexistent/engine.sock", {.method = "GET", .target = "/"}, -ENOENT},
		{too_long, {.method = "GET", .target = "/"}, -ENAMETOOLONG},
		{peer.address, {.method = "GET", .target = "/a b"}, -EINVAL},
		{peer.address, {.method = "G T", .target = "/"}, -EINVAL},
		{peer.address, {.method = "GET", .target = "/", .content_type = "a\r\nb"}, -EINVAL},
		{peer.address,
		 {.method = "GET", .target = "/", .headers = (struct http_header[]){{"X", "a\r\nY: b"}, {0}}},
		 -EINVAL},
		{peer.address,
		 {.method = "GET", .target = "/", .headers = (struct http_header[]){{"X:", "a"}, {0}}},
		 -EINVAL},
	};

	memset(too_long + 1, 'x', 150);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct http_pipe *p = http_pipe_new(f->loop, rows[i].path);
		struct outcome o = {0};
		bool gone = false;

		http_pipe_call(p, &rows[i].req, outcome_done, &o);
		assert_int_equal(o.n_done, 0);
		RUN_UNTIL(f->loop, o.n_done);
		assert_int_equal(o.code, rows[i].code);
		assert_false(o.has_response);
		http_pipe_stop(p, check_set_flag, &gone);
		RUN_UNTIL(f->loop, gone);
		assert_int_equal(o.n_done, 1);
	}
	assert_int_equal(peer.n_requests, 0);
}

static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

struct chain {
	struct outcome first, second;
};

static void on_first_done(void *ctx, const struct err *err, const struct http_response *r)
{
	struct chain *c = ctx;

	outcome_done(&c->first, err, r);
	get(&c->second, "/second");
}

static void a_connection_is_free_again_when_its_answer_is_reported(void **state)
{
	struct check_fixture *f = *state;
	struct chain c = {0};

	peer.answer = ok;
	http_pipe_call(pipe_, &(struct http_request){.method = "GET", .target = "/first"}, on_first_done, &c);
	RUN_UNTIL(f->loop, c.second.n_done);
	assert_int_equal(c.second.status, 200);
	assert_int_equal(peer.n_conns, 1);
	assert_int_equal(peer.n_requests, 2);
}

static void a_connection_told_to_close_is_not_used_again(void **state)
{
	answered(*state, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", false);
	answered(*state, ok, false);
	assert_int_equal(peer.n_conns, 2);
}

static void bytes_behind_an_answer_end_its_connection(void **state)
{
	struct outcome o = answered(*state, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200", false);

	assert_string_equal(o.body, "ok");
	answered(*state, ok, false);
	assert_int_equal(peer.n_conns, 2);
}

static void an_idle_connection_closed_behind_our_back_is_replaced_even_for_a_post(void **state)
{
	struct check_fixture *f = *state;
	struct outcome o = {0};

	answered(f, ok, false);
	peer_hang_up(peer.conns); /* and no turn of the loop for the client to notice */
	http_pipe_call(pipe_, &(struct http_request){.method = "POST", .target = "/stop"}, outcome_done, &o);
	RUN_UNTIL(f->loop, o.n_done);
	assert_int_equal(o.code, 0);
	assert_int_equal(peer.n_conns, 2);
	assert_int_equal(peer.n_requests, 2);
}

static void hang_up_on_second(struct peer_conn *c)
{
	if (c->n == 1 && c->n_requests == 2)
		peer_hang_up(c);
	else
		peer_say(c, ok);
}

static void a_get_cut_on_a_kept_connection_is_sent_once_more(void **state)
{
	struct check_fixture *f = *state;
	struct outcome o = {0};

	peer.on_request = hang_up_on_second;
	answered(f, NULL, false);
	get(&o, "/again");
	RUN_UNTIL(f->loop, o.n_done);
	assert_int_equal(o.code, 0);
	assert_int_equal(peer.n_requests, 3);
}

static void a_post_that_may_have_been_acted_on_is_not_repeated(void **state)
{
	struct check_fixture *f = *state;
	struct outcome o = {0};

	peer.on_request = hang_up_on_second;
	answered(f, NULL, false);
	http_pipe_call(pipe_, &(struct http_request){.method = "POST", .target = "/start"}, outcome_done, &o);
	RUN_UNTIL(f->loop, o.n_done);
	assert_int_equal(o.code, -ECONNRESET);
	assert_int_equal(peer.n_requests, 2);
}

static void a_cut_on_a_new_connection_is_an_error_at_once(void **state)
{
	struct outcome o = answered(*state, "HTTP/1.1 20", true);

	assert_int_equal(o.code, -ECONNRESET);
	assert_false(o.has_response);
	assert_int_equal(peer.n_requests, 1);
}

static void a_body_cut_short_reports_the_error_with_the_head(void **state)
{
	struct outcome o = answered(*state, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", true);

	assert_int_equal(o.code, -ECONNRESET);
	assert_true(o.has_response);
	assert_int_equal(o.status, 200);
	o = answered(*state, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhalf", true);
	assert_int_equal(o.code, -ECONNRESET);
}

static void what_is_not_http_is_a_protocol_error(void **state)
{
	assert_int_equal(answered(*state, "SSH-2.0-OpenSSH_9.2\r\n", false).code, -EPROTO);
	assert_int_equal(answered(*state, "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", false).code, -EPROTO);
	assert_int_equal(answered(*state, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", false).code,
			 -EPROTO);
}

static void a_head_beyond_its_limits_is_refused(void **state)
{
	AUTO_FREE char *fits = malloc(20000), *over = malloc(20000);
	struct buf many;

	snprintf(fits, 20000, "HTTP/1.1 200 OK\r\nX: %0*d\r\nContent-Length: 0\r\n\r\n", 16000, 0);
	assert_int_equal(answered(*state, fits, false).code, 0);
	snprintf(over, 20000, "HTTP/1.1 200 OK\r\nX: %0*d\r\nContent-Length: 0\r\n\r\n", 16384, 0);
	assert_int_equal(answered(*state, over, false).code, -EPROTO);
	buf_init(&many, 20000);
	buf_adds(&many, "HTTP/1.1 200 OK\r\n");
	for (int i = 0; i < HTTP_HEADERS_MAX; i++)
		buf_adds(&many, "A: b\r\n");
	buf_adds(&many, "Content-Length: 0\r\n\r\n");
	assert_int_equal(answered(*state, many.data, false).code, -EPROTO);
	buf_deinit(&many);
}

static void a_body_is_kept_up_to_its_limit_and_refused_beyond(void **state)
{
	struct check_fixture *f = *state;
	struct outcome o = {0}, over = {0};
	struct http_request req = {.method = "GET", .target = "/", .max_body_bytes = 4};

	peer.answer = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfour";
	http_pipe_call(pipe_, &req, outcome_done, &o);
	RUN_UNTIL(f->loop, o.n_done);
	assert_int_equal(o.code, 0);
	peer.answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfive!\r\n0\r\n\r\n";
	http_pipe_call(pipe_, &req, outcome_done, &over);
	RUN_UNTIL(f->loop, over.n_done);
	assert_int_equal(over.code, -EMSGSIZE);
	assert_true(over.has_response);
}

/* -------- streams -------- */

struct stream {
	struct outcome o;
	struct buf seen; /* "[status]" at the head, then the data */
	struct http_call *call;
	int end_with; /* on_data's answer */
	bool cancel_in_head, cancel_in_data, stop_in_data;
};

static void on_head(void *ctx, const struct http_response *head)
{
	struct stream *s = ctx;

	assert_int_equal(s->o.n_done, 0);
	buf_printf(&s->seen, "[%d]", head->status);
	if (s->cancel_in_head)
		http_call_cancel(s->call);
}

static int on_data(void *ctx, const char *data, size_t len)
{
	struct stream *s = ctx;

	buf_add(&s->seen, data, len);
	if (s->cancel_in_data)
		http_call_cancel(s->call);
	return s->end_with;
}

static void start_stream(struct stream *s)
{
	buf_init(&s->seen, 1 << 20);
	s->call = http_pipe_call(pipe_,
				 &(struct http_request){.method = "GET",
							.target = "/events",
							.on_head = on_head,
							.on_data = on_data,
							.stream_ctx = s,
							.max_body_bytes = 8},
				 outcome_done, &s->o);
}

static void a_stream_gives_its_head_then_data_as_it_comes(void **state)
{
	struct check_fixture *f = *state;
	struct stream s = {0};

	peer.answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n";
	start_stream(&s);
	RUN_UNTIL(f->loop, s.seen.len == 8);
	peer_say(peer.conns, "3\r\ntwo\r\n");
	RUN_UNTIL(f->loop, s.seen.len == 11);
	assert_int_equal(s.o.n_done, 0);
	peer_say(peer.conns, "0\r\n\r\n");
	RUN_UNTIL(f->loop, s.o.n_done);
	assert_string_equal(s.seen.data, "[200]onetwo");
	assert_int_equal(s.o.code, 0);
	assert_string_equal(s.o.body, "");
	buf_deinit(&s.seen);
}

static void an_error_answer_to_a_stream_is_kept_for_its_text(void **state)
{
	struct check_fixture *f = *state;
	struct stream s = {0};

	peer.answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 14\r\n\r\nno such thing.";
	start_stream(&s);
	RUN_UNTIL(f->loop, s.o.n_done);
	assert_string_equal(s.seen.data, "[404]");
	assert_int_equal(s.o.code, 0);
	assert_string_equal(s.o.body, "no such "); /* its limit is 8 */
	buf_deinit(&s.seen);
}

static void a_reader_can_end_its_stream(void **state)
{
	struct check_fixture *f = *state;
	struct stream rows[] = {{.end_with = -EILSEQ}, {.cancel_in_data = true}, {.cancel_in_head = true}};
	static const int codes[] = {-EILSEQ, -ECANCELED, -ECANCELED};

	peer.answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n";
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		start_stream(&rows[i]);
		RUN_UNTIL(f->loop, rows[i].o.n_done);
		assert_int_equal(rows[i].o.code, codes[i]);
		assert_string_equal(rows[i].seen.data, rows[i].cancel_in_head ? "[200]" : "[200]a");
		RUN_UNTIL(f->loop, peer.n_open == 0); /* the engine is told by the close */
		buf_deinit(&rows[i].seen);
	}
}

static void cancelling_is_reported_later_and_once(void **state)
{
	struct check_fixture *f = *state;
	struct outcome o = {0};
	struct http_call *c = get(&o, "/slow");

	http_call_cancel(c);
	http_call_cancel(c);
	assert_int_equal(o.n_done, 0);
	RUN_UNTIL(f->loop, o.n_done);
	check_run_turns(f->loop, 3);
	assert_int_equal(o.n_done, 1);
	assert_int_equal(o.code, -ECANCELED);
}

static void each_timeout_has_its_name(void **state)
{
	struct check_fixture *f = *state;
	const struct {
		struct http_request req;
		const char *answer, *name;
	} rows[] = {
		{{.method = "GET", .target = "/", .head_timeout_ms = 5}, NULL, "head timeout"},
		{{.method = "GET", .target = "/", .head_timeout_ms = 5}, "HTTP/1.1 200 OK\r\nX: ", "head timeout"},
		{{.method = "GET", .target = "/", .head_timeout_ms = 5000, .total_timeout_ms = 5},
		 NULL,
		 "total timeout"},
		{{.method = "GET", .target = "/", .head_timeout_ms = 2000, .idle_timeout_ms = 5},
		 "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx",
		 "idle timeout"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct outcome o = {0};

		peer.answer = rows[i].answer;
		http_pipe_call(pipe_, &rows[i].req, outcome_done, &o);
		RUN_UNTIL(f->loop, o.n_done);
		assert_int_equal(o.code, -ETIMEDOUT);
		assert_non_null(strstr(o.msg, rows[i].name));
		assert_non_null(strstr(o.msg, "within 5 ms"));
	}
}

static void a_request_that_nobody_takes_ends_by_the_head_timeout(void **state)
{
	struct check_fixture *f = *state;
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	AUTO_FREE char *body = mem_new(1, 4 << 20);
	struct outcome o = {0};
	struct http_pipe *p;
	bool gone = false;

	snprintf(a.sun_path, sizeof(a.sun_path), "%s/hung.sock", f->dir);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 8), 0); /* it connects, and is never accepted */
	p = http_pipe_new(f->loop, a.sun_path);
	http_pipe_call(p,
		       &(struct http_request){.method = "POST",
					      .target = "/",
					      .body = body,
					      .body_len = 4 << 20,
					      .connect_timeout_ms = 5000,
					      .head_timeout_ms = 5},
		       outcome_done, &o);
	RUN_UNTIL(f->loop, o.n_done);
	assert_int_equal(o.code, -ETIMEDOUT);
	assert_non_null(strstr(o.msg, "the request was not taken within 5 ms"));
	http_pipe_stop(p, check_set_flag, &gone);
	RUN_UNTIL(f->loop, gone);
	close(fd);
}

static void a_busy_listener_is_asked_again_within_the_connect_timeout(void **state)
{
	struct check_fixture *f = *state;
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0), fill[8], n = 0, conn;
	struct outcome late = {0}, o = {0};
	struct http_pipe *p;
	bool gone = false;
	char in[512];

	snprintf(a.sun_path, sizeof(a.sun_path), "%s/busy.sock", f->dir);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 0), 0);
	do {
		fill[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	} while (connect(fill[n++], (struct sockaddr *)&a, sizeof(a)) == 0);
	p = http_pipe_new(f->loop, a.sun_path);
	http_pipe_call(p, &(struct http_request){.method = "GET", .target = "/", .connect_timeout_ms = 25},
		       outcome_done, &late);
	RUN_UNTIL(f->loop, late.n_done);
	assert_int_equal(late.code, -ETIMEDOUT);
	assert_non_null(strstr(late.msg, "connect timeout"));
	http_pipe_call(p, &(struct http_request){.method = "GET", .target = "/patient"}, outcome_done, &o);
	while ((conn = accept(fd, NULL, NULL)) >= 0)
		close(conn);
	RUN_UNTIL(f->loop, (conn = accept(fd, NULL, NULL)) >= 0);
	assert_true(recv(conn, in, sizeof(in), 0) > 0);
	assert_int_equal(strncmp(in, "GET /patient ", 13), 0);
	http_pipe_stop(p, check_set_flag, &gone);
	RUN_UNTIL(f->loop, gone);
	while (n > 0)
		close(fill[--n]);
	close(conn);
	close(fd);
}

/* -------- uploads -------- */

struct upload {
	struct outcome o;
	struct http_call *call;
	size_t left;
	long fail_with;
	bool cancel;
	int n_asked;
};

static long on_source(void *ctx, char *to, size_t size)
{
	struct upload *u = ctx;
	size_t n = u->left < size ? u->left : size;

	u->n_asked++;
	if (u->cancel)
		http_call_cancel(u->call);
	if (u->left == 0 && u->fail_with)
		return u->fail_with;
	memset(to, 'u', n);
	u->left -= n;
	return (long)n;
}

static void start_upload(struct upload *u)
{
	u->call = http_pipe_call(
		pipe_,
		&(struct http_request){.method = "POST", .target = "/load", .source = on_source, .stream_ctx = u},
		outcome_done, &u->o);
	assert_int_equal(u->n_asked, 0);
}

static void an_upload_is_sent_in_chunks_as_the_socket_takes_them(void **state)
{
	struct check_fixture *f = *state;
	struct upload u = {.left = 500000};

	peer.answer = ok;
	start_upload(&u);
	RUN_UNTIL(f->loop, u.o.n_done);
	assert_int_equal(u.o.status, 200);
	assert_int_equal(u.left, 0);
	assert_int_equal(peer.n_requests, 1); /* the peer saw the last chunk */
}

static void an_upload_ends_with_its_sources_error_or_cancel(void **state)
{
	struct check_fixture *f = *state;
	struct upload bad = {.left = 10, .fail_with = -EIO}, gone = {.left = 10, .cancel = true};

	start_upload(&bad);
	start_upload(&gone);
	RUN_UNTIL(f->loop, bad.o.n_done && gone.o.n_done);
	assert_int_equal(bad.o.code, -EIO);
	assert_int_equal(gone.o.code, -ECANCELED);
}

static void an_answer_in_the_middle_of_an_upload_counts(void **state)
{
	struct check_fixture *f = *state;
	struct upload u = {.left = 100000000};

	start_upload(&u);
	RUN_UNTIL(f->loop, peer.n_conns == 1);
	peer_say(peer.conns, "HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\nno!");
	peer_hang_up(peer.conns);
	RUN_UNTIL(f->loop, u.o.n_done);
	assert_int_equal(u.o.code, 0);
	assert_int_equal(u.o.status, 400);
	assert_string_equal(u.o.body, "no!");
	assert_true(u.left > 0);
}

/* -------- many -------- */

static void idle_connections_are_few_and_can_be_dropped(void **state)
{
	struct check_fixture *f = *state;
	struct outcome o[12] = {0};

	peer.answer = ok;
	for (size_t i = 0; i < ARRAY_LEN(o); i++)
		get(&o[i], "/");
	RUN_UNTIL(f->loop, peer.n_requests == 12 && peer.n_open == HTTP_PIPE_IDLE_MAX);
	for (size_t i = 0; i < ARRAY_LEN(o); i++)
		assert_int_equal(o[i].status, 200);
	http_pipe_drop_idle(pipe_);
	RUN_UNTIL(f->loop, peer.n_open == 0);
}

static void a_replaced_socket_file_is_found_again(void **state)
{
	struct check_fixture *f = *state;
	struct http_peer other;
	struct outcome o = {0};
	char path[sizeof(peer.address)];

	answered(f, ok, true);
	memcpy(path, peer.address, sizeof(path));
	unlink(path);
	peer_start_unix(&other, f->loop, f->dir);
	other.answer = "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n";
	get(&o, "/");
	RUN_UNTIL(f->loop, o.n_done);
	assert_int_equal(o.status, 201);
	peer_stop(&other);
}

static void stopping_cancels_every_call_once(void **state)
{
	struct check_fixture *f = *state;
	struct outcome o[20] = {0};
	struct http_pipe *p = http_pipe_new(f->loop, peer.address);
	bool gone = false;

	for (size_t i = 0; i < ARRAY_LEN(o); i++)
		http_pipe_call(p, &(struct http_request){.method = "GET", .target = "/", .total_timeout_ms = 9000},
			       outcome_done, &o[i]);
	RUN_UNTIL(f->loop, peer.n_requests == 20);
	http_pipe_stop(p, check_set_flag, &gone);
	assert_false(gone);
	RUN_UNTIL(f->loop, gone);
	for (size_t i = 0; i < ARRAY_LEN(o); i++) {
		assert_int_equal(o[i].n_done, 1);
		assert_int_equal(o[i].code, -ECANCELED);
	}
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(an_answer_arrives_with_status_headers_and_body),
		T(bodies_come_sized_chunked_or_until_the_end),
		T(a_head_request_has_no_body_to_wait_for),
		T(the_request_is_in_the_socket_when_the_call_returns),
		T(no_result_comes_before_the_call_returned),
		T(a_connection_is_free_again_when_its_answer_is_reported),
		T(a_connection_told_to_close_is_not_used_again),
		T(bytes_behind_an_answer_end_its_connection),
		T(an_idle_connection_closed_behind_our_back_is_replaced_even_for_a_post),
		T(a_get_cut_on_a_kept_connection_is_sent_once_more),
		T(a_post_that_may_have_been_acted_on_is_not_repeated),
		T(a_cut_on_a_new_connection_is_an_error_at_once),
		T(a_body_cut_short_reports_the_error_with_the_head),
		T(what_is_not_http_is_a_protocol_error),
		T(a_head_beyond_its_limits_is_refused),
		T(a_body_is_kept_up_to_its_limit_and_refused_beyond),
		T(a_stream_gives_its_head_then_data_as_it_comes),
		T(an_error_answer_to_a_stream_is_kept_for_its_text),
		T(a_reader_can_end_its_stream),
		T(cancelling_is_reported_later_and_once),
		T(each_timeout_has_its_name),
		T(a_request_that_nobody_takes_ends_by_the_head_timeout),
		T(a_busy_listener_is_asked_again_within_the_connect_timeout),
		T(an_upload_is_sent_in_chunks_as_the_socket_takes_them),
		T(an_upload_ends_with_its_sources_error_or_cancel),
		T(an_answer_in_the_middle_of_an_upload_counts),
		T(idle_connections_are_few_and_can_be_dropped),
		T(a_replaced_socket_file_is_found_again),
		T(stopping_cancels_every_call_once),
	};

	return cmocka_run_group_tests_name("http_pipe", tests, NULL, NULL);
}
