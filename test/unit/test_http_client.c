/*
 * http_client over real TCP and TLS: the far end is scripted words on the test's own loop, or `openssl s_server` where
 * certificates matter. A name server that never answers is a getaddrinfo() that does not return until the test lets it,
 * and, for a libcurl that asks name servers itself (c-ares), a socket of the test in the place of every port 53.
 */
#include "net/http_client.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "check.h"
#include "http_peer.h"

static struct http_peer peer;
static struct http_client *client;
static bool stopped;

/* -------- name service that never answers -------- */

static int dns_gate[2] = {-1, -1};
static atomic_int dns_waiting, dns_left;

/* Replaces libc's for this program, libcurl's threads included. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **res)
{
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
		(int (*)(const char *, const char *, const struct addrinfo *, struct addrinfo **))dlsym(RTLD_NEXT,
													"getaddrinfo");
	char c;

	if (!strcmp(node, "device.test"))
		return real("127.0.0.1", service, hints, res);
	dns_waiting++;
	while (read(dns_gate[0], &c, 1) < 0 && errno == EINTR)
		continue;
	dns_left++;
	return EAI_AGAIN;
}

static int dns_server = -1;               /* hears every question */
static struct sockaddr_storage dns_asked; /* whom the program believes it asked */

static struct sockaddr_in dns_server_address(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET};
	socklen_t len = sizeof(a);

	assert_int_equal(getsockname(dns_server, (struct sockaddr *)&a, &len), 0);
	return a;
}

/* Replaces libc's as well: what goes to a name server goes to ours. */
int connect(int fd, __CONST_SOCKADDR_ARG to, socklen_t len)
{
	int (*real)(int, const void *, socklen_t) = (int (*)(int, const void *, socklen_t))dlsym(RTLD_NEXT, "connect");
	const struct sockaddr_in *in = to.__sockaddr_in__;
	struct sockaddr_in ours;
	struct sockaddr_in6 mapped = {.sin6_family = AF_INET6};

	if (dns_server < 0 || (in->sin_family != AF_INET && in->sin_family != AF_INET6) || ntohs(in->sin_port) != 53)
		return real(fd, in, len); /* the port stands at the same place in both families */
	memcpy(&dns_asked, in, len < sizeof(dns_asked) ? len : sizeof(dns_asked));
	ours = dns_server_address();
	if (in->sin_family == AF_INET)
		return real(fd, &ours, sizeof(ours));
	mapped.sin6_port = ours.sin_port;
	inet_pton(AF_INET6, "::ffff:127.0.0.1", &mapped.sin6_addr);
	return real(fd, &mapped, sizeof(mapped));
}

/* An answer must seem to come from there, else c-ares does not take it. */
ssize_t recvfrom(int fd, void *to, size_t size, int flags, __SOCKADDR_ARG from, socklen_t *from_len)
{
	ssize_t (*real)(int, void *, size_t, int, void *, socklen_t *) =
		(ssize_t(*)(int, void *, size_t, int, void *, socklen_t *))dlsym(RTLD_NEXT, "recvfrom");
	socklen_t room = from_len ? *from_len : 0;
	ssize_t n = real(fd, to, size, flags, from.__sockaddr__, from_len);

	if (n >= 0 && room >= sizeof(struct sockaddr_in) && dns_server >= 0 && fd != dns_server)
		memcpy(from.__sockaddr__, &dns_asked, room < sizeof(dns_asked) ? room : sizeof(dns_asked));
	return n;
}

static void dns_server_start(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	dns_server = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(dns_server, (struct sockaddr *)&a, sizeof(a)), 0);
}

/* How many of these names were asked for by now, in either way. The first label of a question stands at byte 12. */
static int names_asked(const char *const names[], size_t n)
{
	static unsigned asked_by_datagram;
	char question[512];

	while (recv(dns_server, question, sizeof(question), 0) > 12)
		for (size_t i = 0; i < n; i++)
			if (!strncmp(question + 13, names[i], strlen(names[i])))
				asked_by_datagram |= 1u << i;
	return dns_waiting + __builtin_popcount(asked_by_datagram);
}

/* -------- set-up -------- */

static int setup(void **state)
{
	struct check_fixture *f;

	check_setup(state);
	f = *state;
	peer_start_tcp(&peer, f->loop);
	client = http_client_new(f->loop, &(struct http_client_options){.user_agent = "lockkeeper-test"});
	stopped = false;
	return 0;
}

static void stop_client(struct check_fixture *f)
{
	if (!client)
		return;
	http_client_stop(client, check_set_flag, &stopped);
	assert_false(stopped);
	RUN_UNTIL(f->loop, stopped);
	client = NULL;
}

static int teardown(void **state)
{
	stop_client(*state);
	peer_stop(&peer);
	return check_teardown(state);
}

static char *url(const char *path)
{
	static char text[400];

	snprintf(text, sizeof(text), "%s%s", peer.address, path);
	return text;
}

static struct http_call *call(struct outcome *o, struct http_request req)
{
	if (!req.method)
		req.method = "GET";
	if (!req.target)
		req.target = url("/x");
	return http_client_call(client, &req, outcome_done, o);
}

static struct outcome asked(struct check_fixture *f, struct http_request req)
{
	struct outcome o = {0};

	call(&o, req);
	assert_int_equal(o.n_done, 0);
	RUN_UNTIL(f->loop, o.n_done);
	return o;
}

static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 2\r\n\r\nok";

/* -------- plain answers -------- */

static void an_answer_arrives_with_status_headers_and_body(void **state)
{
	struct outcome o;

	peer.answer = ok;
	o = asked(*state, (struct http_request){0});
	assert_int_equal(o.code, 0);
	assert_int_equal(o.status, 200);
	assert_string_equal(o.body, "ok");
	assert_string_equal(o.type, "a/b");
	assert_non_null(strstr(peer.last, "GET /x HTTP/1.1\r\n"));
	assert_non_null(strstr(peer.last, "User-Agent: lockkeeper-test\r\n"));
}

static void methods_bodies_and_headers_are_sent_as_given(void **state)
{
	static const char *const methods[] = {"POST", "PATCH", "PUT", "DELETE"};
	struct http_header headers[] = {{"Authorization", "Bearer k"}, {"X-Empty", ""}, {0}};

	peer.answer = ok;
	for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
		struct outcome o = asked(*state, (struct http_request){.method = methods[i],
								       .content_type = "application/json",
								       .headers = headers,
								       .body = "{\"a\":1}",
								       .body_len = 7});
		char line[32];

		snprintf(line, sizeof(line), "%s /x HTTP/1.1\r\n", methods[i]);
		assert_int_equal(o.status, 200);
		assert_int_equal(strncmp(peer.last, line, strlen(line)), 0);
		assert_non_null(strstr(peer.last, "Content-Type: application/json\r\n"));
		assert_non_null(strstr(peer.last, "Authorization: Bearer k\r\n"));
		assert_non_null(strstr(peer.last, "X-Empty:\r\n"));
		assert_non_null(strstr(peer.last, "Content-Length: 7\r\n"));
		assert_non_null(strstr(peer.last, "\r\n\r\n{\"a\":1}"));
		assert_null(strstr(peer.last, "Expect"));
	}
	assert_int_equal(peer.n_conns, 1); /* kept all the while */
}

static void a_post_without_a_body_or_type_says_so(void **state)
{
	peer.answer = "HTTP/1.1 204 No Content\r\n\r\n";
	assert_int_equal(asked(*state, (struct http_request){.method = "POST"}).status, 204);
	assert_non_null(strstr(peer.last, "Content-Length: 0\r\n"));
	assert_null(strstr(peer.last, "Content-Type"));
}

static void a_head_request_has_no_body_to_wait_for(void **state)
{
	peer.answer = "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n";
	assert_int_equal(asked(*state, (struct http_request){.method = "HEAD"}).code, 0);
	assert_int_equal(strncmp(peer.last, "HEAD ", 5), 0);
}

static const char hello_gzip[] = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff\xcb\x48\xcd\xc9\xc9\x57\x48\xaf\xca\x2c\x00"
				 "\x00\x19\x6a\xd2\xdf\x0a\x00\x00\x00";
static const char bomb_gzip[] =
	"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff\xed\xc1\x31\x01\x00\x00\x00\xc2\xa0\xac\xeb\x5f\xc2\x1a"
	"\x1e\x40\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	"\x00\x00\x00\xaf\x06\x87\xfa\xe2\x1b\xa0\x86\x01\x00"; /* 100,000 times "a" */

static void say_gzip(struct peer_conn *c, const char *data, size_t len)
{
	char head[128];

	snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %zu\r\n\r\n", len);
	peer_say(c, head);
	peer_say_bytes(c, data, len);
}

static void say_hello(struct peer_conn *c)
{
	say_gzip(c, hello_gzip, sizeof(hello_gzip) - 1);
}

static void say_bomb(struct peer_conn *c)
{
	say_gzip(c, bomb_gzip, sizeof(bomb_gzip) - 1);
}

static void a_compressed_answer_is_unpacked_and_its_unpacked_size_limited(void **state)
{
	struct outcome o;

	peer.on_request = say_hello;
	o = asked(*state, (struct http_request){0});
	assert_string_equal(o.body, "hello gzip");
	assert_non_null(strstr(peer.last, "Accept-Encoding: "));
	peer.on_request = say_bomb;
	o = asked(*state, (struct http_request){.max_body_bytes = 100000});
	assert_int_equal(o.code, 0);
	assert_int_equal(o.body_len, 100000);
	o = asked(*state, (struct http_request){.max_body_bytes = 99999});
	assert_int_equal(o.code, -EMSGSIZE);
}

/* -------- limits -------- */

static size_t four_mib_and;

static void say_4_mib(struct peer_conn *c)
{
	static char data[(4 << 20) + 8];
	uv_buf_t b;
	size_t len = (4 << 20) + four_mib_and;
	static uv_write_t req;
	static char head[128];

	memset(data, 'd', sizeof(data));
	snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n", len);
	peer_say(c, head);
	b = uv_buf_init(data, (unsigned)len);
	assert_int_equal(uv_write(&req, &c->uv.stream, &b, 1, NULL), 0);
}

static void a_body_of_4_mib_is_taken_and_one_byte_more_is_not(void **state)
{
	struct outcome o;

	peer.on_request = say_4_mib;
	o = asked(*state, (struct http_request){.max_body_bytes = 4 << 20});
	assert_int_equal(o.code, 0);
	assert_int_equal(o.body_len, 4 << 20);
	four_mib_and = 1;
	o = asked(*state, (struct http_request){.max_body_bytes = 4 << 20});
	assert_int_equal(o.code, -EMSGSIZE);
	assert_non_null(strstr(o.msg, "4194304"));
	assert_true(o.has_response);
}

static void a_head_beyond_its_limits_is_refused(void **state)
{
	AUTO_FREE char *fits = malloc(20000), *over = malloc(20000);

	snprintf(fits, 20000, "HTTP/1.1 200 OK\r\nX: %0*d\r\nContent-Length: 0\r\n\r\n", 16000, 0);
	peer.answer = fits;
	assert_int_equal(asked(*state, (struct http_request){0}).code, 0);
	snprintf(over, 20000, "HTTP/1.1 200 OK\r\nX: %0*d\r\nContent-Length: 0\r\n\r\n", 16384, 0);
	peer.answer = over;
	assert_int_equal(asked(*state, (struct http_request){0}).code, -EPROTO);
}

/* -------- errors -------- */

static void every_failure_has_its_code_and_comes_later(void **state)
{
	struct check_fixture *f = *state;
	static const struct http_header inject[] = {{"X", "a\r\nY: b"}, {0}};
	struct outcome o;

	assert_int_equal(asked(f, (struct http_request){.target = "ftp://127.0.0.1/"}).code, -EINVAL);
	assert_int_equal(asked(f, (struct http_request){.target = "file:///etc/passwd"}).code, -EINVAL);
	assert_int_equal(asked(f, (struct http_request){.target = "http://a b/"}).code, -EINVAL);
	assert_int_equal(asked(f, (struct http_request){.headers = inject}).code, -EINVAL);
	o = asked(f, (struct http_request){.target = "http://127.0.0.1:1/"});
	assert_int_equal(o.code, -ECONNREFUSED);
	assert_non_null(strstr(o.msg, "127.0.0.1"));
	peer.hang_up = true;
	assert_int_equal(asked(f, (struct http_request){0}).code, -ECONNRESET);
	peer.answer = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf";
	o = asked(f, (struct http_request){0});
	assert_int_equal(o.code, -ECONNRESET);
	assert_true(o.has_response);
	peer.answer = "SSH-2.0-OpenSSH_9.2\r\n";
	assert_int_equal(asked(f, (struct http_request){0}).code, -EPROTO);
}

static void each_timeout_has_its_name(void **state)
{
	static const struct {
		struct http_request req;
		const char *answer, *name;
	} rows[] = {
		{{.head_timeout_ms = 10}, NULL, "head timeout"},
		{{.head_timeout_ms = 10}, "HTTP/1.1 200 OK\r\nX: ", "head timeout"},
		{{.head_timeout_ms = 3000, .total_timeout_ms = 10}, NULL, "total timeout"},
		{{.idle_timeout_ms = 10}, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", "idle timeout"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct outcome o;

		peer.answer = rows[i].answer;
		o = asked(*state, rows[i].req);
		assert_int_equal(o.code, -ETIMEDOUT);
		assert_non_null(strstr(o.msg, rows[i].name));
		assert_non_null(strstr(o.msg, "within 10 ms"));
	}
}

/* A listener whose queue is full drops what knocks: no answer at all. */
struct black_hole {
	int fd, fill[4];
	char url[64];
};

static void dig(struct black_hole *h)
{
	struct sockaddr_in a = {.sin_family = AF_INET};
	socklen_t len = sizeof(a);

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	h->fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(h->fd, (struct sockaddr *)&a, len), 0);
	assert_int_equal(listen(h->fd, 0), 0);
	assert_int_equal(getsockname(h->fd, (struct sockaddr *)&a, &len), 0);
	for (size_t i = 0; i < ARRAY_LEN(h->fill); i++) {
		h->fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		connect(h->fill[i], (struct sockaddr *)&a, len);
	}
	snprintf(h->url, sizeof(h->url), "http://127.0.0.1:%u/", ntohs(a.sin_port));
}

static void fill_in(struct black_hole *h)
{
	for (size_t i = 0; i < ARRAY_LEN(h->fill); i++)
		close(h->fill[i]);
	close(h->fd);
}

static void a_call_into_a_black_hole_times_out_by_name_or_is_cancelled(void **state)
{
	struct check_fixture *f = *state;
	struct black_hole h;
	struct outcome o, cancelled = {0};
	struct http_call *c;

	dig(&h);
	o = asked(f, (struct http_request){.target = h.url, .connect_timeout_ms = 20});
	assert_int_equal(o.code, -ETIMEDOUT);
	assert_non_null(strstr(o.msg, "connect timeout"));
	c = call(&cancelled, (struct http_request){.target = h.url});
	check_run_turns(f->loop, 5); /* connecting now */
	assert_int_equal(cancelled.n_done, 0);
	http_call_cancel(c);
	http_call_cancel(c);
	assert_int_equal(cancelled.n_done, 0);
	RUN_UNTIL(f->loop, cancelled.n_done);
	assert_int_equal(cancelled.code, -ECANCELED);
	fill_in(&h);
}

/* Answers what was asked of the name server: 127.0.0.1 is the address, of the fourth version, of every name. */
static void answer_as_name_server(void)
{
	static const char address[] = {(char)0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1};
	struct sockaddr_in from;
	socklen_t from_len = sizeof(from);
	char packet[512];

	while (recvfrom(dns_server, packet, 256, 0, (struct sockaddr *)&from, &from_len) > 12) {
		size_t end = 12;
		bool is_a;

		while (packet[end])
			end += (size_t)packet[end] + 1;
		end += 5; /* the end of the name, type and class */
		is_a = packet[end - 3] == 1;
		memcpy(packet + 2, (char[]){(char)0x81, (char)0x80, 0, 1, 0, is_a, 0, 0, 0, 0}, 10);
		memcpy(packet + end, address, sizeof(address));
		sendto(dns_server, packet, end + (is_a ? sizeof(address) : 0), 0, (struct sockaddr *)&from, from_len);
	}
}

/* In libc's way, or in that of c-ares, whose sockets are on our loop. */
static void a_host_is_found_by_its_name(void **state)
{
	struct check_fixture *f = *state;
	struct outcome o = {0};
	char target[64];

	dns_server_start();
	snprintf(target, sizeof(target), "http://device.test%s", strrchr(url("/x"), ':'));
	peer.answer = ok;
	call(&o, (struct http_request){.target = target});
	RUN_UNTIL(f->loop, (answer_as_name_server(), o.n_done));
	assert_int_equal(o.code, 0);
	assert_string_equal(o.body, "ok");
	assert_non_null(strstr(peer.last, "Host: device.test:"));
	close(dns_server);
	dns_server = -1;
}

/* Were the resolver's thread joined, this would hang: it is let go only at the end. */
static void a_dead_name_server_delays_neither_cancel_nor_stop(void **state)
{
	struct check_fixture *f = *state;
	static const char *const names[] = {"one", "two", "three"};
	struct outcome cancelled = {0}, timed = {0}, at_stop = {0};
	struct http_call *c;
	int running;

	assert_int_equal(pipe2(dns_gate, O_CLOEXEC), 0);
	dns_server_start();
	c = call(&cancelled, (struct http_request){.target = "http://one.invalid/"});
	call(&timed, (struct http_request){.target = "http://two.invalid/", .connect_timeout_ms = 1000});
	call(&at_stop, (struct http_request){.target = "https://three.invalid/"});
	RUN_UNTIL(f->loop, names_asked(names, ARRAY_LEN(names)) == 3);
	http_call_cancel(c);
	RUN_UNTIL(f->loop, cancelled.n_done && timed.n_done);
	assert_int_equal(cancelled.code, -ECANCELED);
	assert_int_equal(timed.code, -ETIMEDOUT);
	assert_int_equal(at_stop.n_done, 0);
	stop_client(f);
	assert_int_equal(at_stop.n_done, 1);
	assert_int_equal(at_stop.code, -ECANCELED);
	assert_int_equal(dns_left, 0); /* they are all still waiting */
	running = dns_waiting;
	close(dns_gate[1]);
	while (dns_left < running)
		check_run_turns(f->loop, 1);
	close(dns_gate[0]);
	close(dns_server);
	dns_server = -1;
}

/* -------- redirects -------- */

static int redirects_left;
static const char *redirect_line;

static void redirect(struct peer_conn *c)
{
	char text[600];

	if (redirects_left-- <= 0) {
		peer_say(c, ok);
		return;
	}
	snprintf(text, sizeof(text), "HTTP/1.1 %s\r\nContent-Length: 4\r\n\r\nmove", redirect_line);
	peer_say(c, text);
}

static void five_redirects_are_followed_and_six_are_not(void **state)
{
	struct outcome o;

	peer.on_request = redirect;
	redirect_line = "302 Found\r\nLocation: /next";
	redirects_left = 5;
	o = asked(*state, (struct http_request){0});
	assert_int_equal(o.status, 200);
	assert_string_equal(o.body, "ok");
	redirects_left = 6;
	o = asked(*state, (struct http_request){0});
	assert_int_equal(o.code, -ELOOP);
}

static void a_redirect_to_another_scheme_is_refused(void **state)
{
	peer.on_request = redirect;
	redirect_line = "302 Found\r\nLocation: file:///etc/passwd";
	redirects_left = 1;
	assert_int_equal(asked(*state, (struct http_request){0}).code, -EPROTO);
	redirect_line = "302 Found\r\nLocation: ftp://127.0.0.1/";
	redirects_left = 1;
	assert_int_equal(asked(*state, (struct http_request){0}).code, -EPROTO);
}

static void a_redirect_to_another_host_does_not_carry_the_key(void **state)
{
	struct check_fixture *f = *state;
	static const struct http_header key[] = {{"Authorization", "Bearer secret"}, {0}};
	struct http_peer other;
	char line[300];
	struct outcome o;

	peer_start_tcp(&other, f->loop);
	other.answer = ok;
	snprintf(line, sizeof(line), "302 Found\r\nLocation: %s/y", other.address);
	peer.on_request = redirect;
	redirect_line = line;
	redirects_left = 1;
	o = asked(f, (struct http_request){.headers = key});
	assert_int_equal(o.status, 200);
	assert_non_null(strstr(peer.last, "secret"));
	assert_non_null(strstr(other.last, "GET /y "));
	assert_null(strstr(other.last, "secret"));
	peer_stop(&other);
}

static void a_304_is_an_answer(void **state)
{
	struct outcome o;

	peer.answer = "HTTP/1.1 304 Not Modified\r\nContent-Type: e/t\r\n\r\n";
	o = asked(*state, (struct http_request){0});
	assert_int_equal(o.code, 0);
	assert_int_equal(o.status, 304);
	assert_string_equal(o.type, "e/t");
}

/* -------- streams and uploads -------- */

struct stream {
	struct outcome o;
	struct buf seen;
	struct http_call *call;
	int end_with;
	bool cancel;
	size_t left;
	long source_error;
};

static void on_head(void *ctx, const struct http_response *head)
{
	struct stream *s = ctx;

	assert_int_equal(s->o.n_done, 0);
	buf_printf(&s->seen, "[%d]", head->status);
}

static int on_data(void *ctx, const char *data, size_t len)
{
	struct stream *s = ctx;

	buf_add(&s->seen, data, len);
	if (s->cancel)
		http_call_cancel(s->call);
	return s->end_with;
}

static void start_stream(struct stream *s)
{
	buf_init(&s->seen, 1 << 20);
	s->call = call(&s->o, (struct http_request){.on_head = on_head, .on_data = on_data, .stream_ctx = s});
}

static void a_stream_gives_its_head_then_data_as_it_comes(void **state)
{
	struct check_fixture *f = *state;
	struct stream s = {0};

	peer.answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
	start_stream(&s);
	RUN_UNTIL(f->loop, s.seen.len == 5); /* the head alone */
	peer_say(peer.conns, "3\r\none\r\n");
	RUN_UNTIL(f->loop, s.seen.len == 8);
	assert_int_equal(s.o.n_done, 0);
	peer_say(peer.conns, "3\r\ntwo\r\n0\r\n\r\n");
	RUN_UNTIL(f->loop, s.o.n_done);
	assert_string_equal(s.seen.data, "[200]onetwo");
	assert_int_equal(s.o.code, 0);
	buf_deinit(&s.seen);
}

static void a_followed_redirect_is_not_the_head_of_a_stream(void **state)
{
	struct check_fixture *f = *state;
	struct stream s = {0};

	peer.on_request = redirect;
	redirect_line = "307 Temporary Redirect\r\nLocation: /z";
	redirects_left = 1;
	start_stream(&s);
	RUN_UNTIL(f->loop, s.o.n_done);
	assert_string_equal(s.seen.data, "[200]ok");
	buf_deinit(&s.seen);
}

static void an_error_answer_to_a_stream_is_kept_for_its_text(void **state)
{
	struct check_fixture *f = *state;
	struct stream s = {0};

	peer.answer = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 6\r\n\r\nno key";
	start_stream(&s);
	RUN_UNTIL(f->loop, s.o.n_done);
	assert_string_equal(s.seen.data, "[401]");
	assert_string_equal(s.o.body, "no key");
	buf_deinit(&s.seen);
}

static void a_reader_can_end_its_stream(void **state)
{
	struct check_fixture *f = *state;
	struct stream rows[] = {{.end_with = -EILSEQ}, {.cancel = true}};
	static const int codes[] = {-EILSEQ, -ECANCELED};

	peer.answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n";
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		start_stream(&rows[i]);
		RUN_UNTIL(f->loop, rows[i].o.n_done);
		assert_int_equal(rows[i].o.code, codes[i]);
		assert_string_equal(rows[i].seen.data, "[200]a");
		RUN_UNTIL(f->loop, peer.n_open == 0);
		buf_deinit(&rows[i].seen);
	}
}

static long on_source(void *ctx, char *to, size_t size)
{
	struct stream *s = ctx;
	size_t n = s->left < size ? s->left : size;

	if (n == 0 && s->source_error)
		return s->source_error;
	memset(to, 'u', n);
	s->left -= n;
	return (long)n;
}

static void an_upload_is_sent_chunked_and_its_sources_error_reported(void **state)
{
	struct check_fixture *f = *state;
	struct stream up = {.left = 500000}, bad = {.left = 10, .source_error = -EIO};
	struct http_request req = {.method = "POST", .source = on_source, .stream_ctx = &up};

	peer.answer = ok;
	call(&up.o, req);
	RUN_UNTIL(f->loop, up.o.n_done);
	assert_int_equal(up.o.status, 200);
	assert_int_equal(up.left, 0);
	assert_int_equal(strncmp(peer.last, "POST /x ", 8), 0);
	req.stream_ctx = &bad;
	call(&bad.o, req);
	RUN_UNTIL(f->loop, bad.o.n_done);
	assert_int_equal(bad.o.code, -EIO);
}

/* -------- stopping -------- */

static void on_done_call_again(void *ctx, const struct err *err, const struct http_response *r)
{
	struct outcome *o = ctx;

	outcome_done(&o[0], err, r);
	http_client_call(client, &(struct http_request){.method = "GET", .target = url("/")}, outcome_done, &o[1]);
}

static void stopping_cancels_every_call_once_and_refuses_new_ones(void **state)
{
	struct check_fixture *f = *state;
	struct outcome o[6] = {0}, again[2] = {0};

	for (size_t i = 0; i < 5; i++)
		call(&o[i], (struct http_request){.total_timeout_ms = 9000});
	RUN_UNTIL(f->loop, peer.n_requests == 5);
	call(&o[5], (struct http_request){0}); /* not even started */
	http_client_call(client, &(struct http_request){.method = "GET", .target = url("/")}, on_done_call_again,
			 again);
	stop_client(f);
	for (size_t i = 0; i < 6; i++) {
		assert_int_equal(o[i].n_done, 1);
		assert_int_equal(o[i].code, -ECANCELED);
	}
	assert_int_equal(again[0].code, -ECANCELED);
	assert_int_equal(again[1].code, -ECANCELED);
}

static void a_client_never_used_stops_as_well(void **state)
{
	stop_client(*state);
}

static void a_first_https_call_can_be_cancelled_or_stopped_while_tls_is_made_ready(void **state)
{
	struct check_fixture *f = *state;
	struct outcome o[3] = {0};
	struct http_call *c;

	c = call(&o[0], (struct http_request){.target = "https://127.0.0.1:1/"});
	check_run_turns(f->loop, 1);
	http_call_cancel(c);
	call(&o[1], (struct http_request){.target = "https://127.0.0.1:1/"});
	RUN_UNTIL(f->loop, o[0].n_done && o[1].n_done);
	assert_int_equal(o[0].code, -ECANCELED);
	assert_int_equal(o[1].code, -ECONNREFUSED);
	stop_client(f);
	client = http_client_new(f->loop, &(struct http_client_options){.user_agent = "t"});
	call(&o[2], (struct http_request){.target = "https://127.0.0.1:1/"});
	check_run_turns(f->loop, 1);
	stopped = false;
	stop_client(f);
	assert_int_equal(o[2].code, -ECANCELED);
}

/* -------- TLS -------- */

struct tls {
	pid_t pid;
	FILE *out;
	char url[64], cert[300];
};

static void run(const char *fmt, ...)
{
	char command[2000];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	assert_int_equal(system(command), 0);
}

/* `openssl s_server` in the fixture's directory, giving out its files as whole HTTP answers. */
static void tls_start(struct tls *t, struct check_fixture *f, const char *name, const char *alt_name)
{
	char key[300], line[200];
	int out[2];
	unsigned port;

	snprintf(t->cert, sizeof(t->cert), "%s/%s.crt", f->dir, name);
	snprintf(key, sizeof(key), "%s/%s.key", f->dir, name);
	run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=%s "
	    "-addext subjectAltName=%s -keyout '%s' -out '%s' 2>/dev/null",
	    name, alt_name, key, t->cert);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	t->pid = fork();
	assert_true(t->pid >= 0);
	if (t->pid == 0) {
		dup2(out[1], 1);
		if (chdir(f->dir) == 0)
			execlp("openssl", "openssl", "s_server", "-accept", "127.0.0.1:0", "-HTTP", "-cert", t->cert,
			       "-key", key, (char *)NULL);
		_exit(127);
	}
	close(out[1]);
	t->out = fdopen(out[0], "r");
	do
		assert_non_null(fgets(line, sizeof(line), t->out));
	while (sscanf(line, "ACCEPT 127.0.0.1:%u", &port) != 1);
	snprintf(t->url, sizeof(t->url), "https://127.0.0.1:%u", port);
}

static void tls_stop(struct tls *t)
{
	kill(t->pid, SIGKILL);
	waitpid(t->pid, NULL, 0);
	fclose(t->out);
}

static void use_ca(struct check_fixture *f, const char *ca)
{
	stop_client(f);
	stopped = false;
	client = http_client_new(f->loop, &(struct http_client_options){.user_agent = "t", .ca_file = ca});
}

static struct outcome ask_tls(struct check_fixture *f, const struct tls *t, const char *path)
{
	char target[200];

	snprintf(target, sizeof(target), "%s%s", t->url, path);
	return asked(f, (struct http_request){.target = target});
}

static void only_a_known_certificate_with_the_right_name_is_trusted(void **state)
{
	struct check_fixture *f = *state;
	struct tls right, wrong;
	struct outcome o;

	check_write_file(f->dir_fd, "hello", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
	tls_start(&right, f, "right", "IP:127.0.0.1");
	tls_start(&wrong, f, "wrong", "DNS:other.example");
	o = ask_tls(f, &right, "/hello"); /* not signed by anybody the system knows */
	assert_int_equal(o.code, -EPROTO);
	assert_non_null(strstr(o.msg, "certificate"));
	use_ca(f, right.cert);
	o = ask_tls(f, &right, "/hello");
	assert_int_equal(o.code, 0);
	assert_string_equal(o.body, "hello");
	use_ca(f, wrong.cert);
	o = ask_tls(f, &wrong, "/hello");
	assert_int_equal(o.code, -EPROTO);
	assert_non_null(strstr(o.msg, "name"));
	tls_stop(&right);
	tls_stop(&wrong);
}

/*
 * Read and kept before any real handshake, which is what keeps its 30 ms off the loop. The server closes after each
 * answer, so each call shakes hands anew.
 */
static void the_ca_bundle_is_read_once_and_before_the_first_handshake(void **state)
{
	struct check_fixture *f = *state;
	struct tls t;

	check_write_file(f->dir_fd, "hello", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello");
	tls_start(&t, f, "right", "IP:127.0.0.1");
	use_ca(f, t.cert);
	assert_int_equal(asked(f, (struct http_request){.target = "https://127.0.0.1:1/"}).code, -ECONNREFUSED);
	assert_int_equal(unlink(t.cert), 0);
	assert_string_equal(ask_tls(f, &t, "/hello").body, "hello");
	assert_string_equal(ask_tls(f, &t, "/hello").body, "hello");
	use_ca(f, t.cert);
	assert_int_equal(ask_tls(f, &t, "/hello").code, -EPROTO); /* the proof that the file was needed at all */
	tls_stop(&t);
}

static void no_redirect_leads_from_https_to_http(void **state)
{
	struct check_fixture *f = *state;
	struct tls t;
	struct outcome o;
	char text[400], line[200];

	snprintf(text, sizeof(text), "HTTP/1.1 302 Found\r\nLocation: %s/plain\r\nContent-Length: 0\r\n\r\n",
		 peer.address);
	check_write_file(f->dir_fd, "down", text);
	check_write_file(f->dir_fd, "hello", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
	tls_start(&t, f, "right", "IP:127.0.0.1");
	use_ca(f, t.cert);
	o = ask_tls(f, &t, "/down");
	assert_int_equal(o.code, -EPROTO);
	peer.on_request = redirect;
	redirect_line = line;
	snprintf(line, sizeof(line), "302 Found\r\nLocation: %s/hello", t.url);
	redirects_left = 1;
	o = asked(f, (struct http_request){0}); /* up is fine */
	assert_string_equal(o.body, "hello");
	assert_int_equal(peer.n_requests, 1);
	snprintf(line, sizeof(line), "302 Found\r\nLocation: %s/down", t.url);
	redirects_left = 1;
	o = asked(f, (struct http_request){0}); /* up and down again is not */
	assert_int_equal(o.code, -EPROTO);
	assert_non_null(strstr(o.msg, "https to http"));
	assert_int_equal(peer.n_requests, 2); /* nothing was sent down there */
	tls_stop(&t);
}

/* -------- what is inside -------- */

static void it_tells_what_is_inside_before_it_was_ever_used(void **state)
{
	struct http_client_versions v;

	(void)state;
	http_client_versions(&v);
	assert_true(v.curl[0] >= '7' && strchr(v.curl, '.'));
	assert_true(strchr(v.tls, '/') && strchr(v.tls, '/')[1] >= '1');
	assert_true(v.zlib[0] >= '1');
	if (v.source) /* the small one: "7.88.1-10+deb12u15", of that very version, and with c-ares */
		assert_true(!strncmp(v.source, v.curl, strlen(v.curl)) && v.resolver);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(it_tells_what_is_inside_before_it_was_ever_used),
		T(an_answer_arrives_with_status_headers_and_body),
		T(methods_bodies_and_headers_are_sent_as_given),
		T(a_post_without_a_body_or_type_says_so),
		T(a_head_request_has_no_body_to_wait_for),
		T(a_compressed_answer_is_unpacked_and_its_unpacked_size_limited),
		T(a_body_of_4_mib_is_taken_and_one_byte_more_is_not),
		T(a_head_beyond_its_limits_is_refused),
		T(every_failure_has_its_code_and_comes_later),
		T(each_timeout_has_its_name),
		T(a_call_into_a_black_hole_times_out_by_name_or_is_cancelled),
		T(a_host_is_found_by_its_name),
		T(a_dead_name_server_delays_neither_cancel_nor_stop),
		T(five_redirects_are_followed_and_six_are_not),
		T(a_redirect_to_another_scheme_is_refused),
		T(a_redirect_to_another_host_does_not_carry_the_key),
		T(a_304_is_an_answer),
		T(a_stream_gives_its_head_then_data_as_it_comes),
		T(a_followed_redirect_is_not_the_head_of_a_stream),
		T(an_error_answer_to_a_stream_is_kept_for_its_text),
		T(a_reader_can_end_its_stream),
		T(an_upload_is_sent_chunked_and_its_sources_error_reported),
		T(stopping_cancels_every_call_once_and_refuses_new_ones),
		T(a_client_never_used_stops_as_well),
		T(a_first_https_call_can_be_cancelled_or_stopped_while_tls_is_made_ready),
		T(only_a_known_certificate_with_the_right_name_is_trusted),
		T(the_ca_bundle_is_read_once_and_before_the_first_handshake),
		T(no_redirect_leads_from_https_to_http),
	};

	unsetenv("http_proxy");
	unsetenv("https_proxy");
	unsetenv("HTTPS_PROXY");
	unsetenv("ALL_PROXY");
	unsetenv("all_proxy");
	return cmocka_run_group_tests_name("http_client", tests, NULL, NULL);
}
