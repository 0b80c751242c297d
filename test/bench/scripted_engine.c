#include "scripted_engine.h"

#define CONTAINERS_MAX 32
#define NETWORKS_MAX   8
#define IMAGES_MAX     8
#define REQUEST_MAX    (256 * 1024)

struct connection {
	int fd; /* -1: unused */
	bool is_events;
	char in[REQUEST_MAX];
	size_t len;
};

struct container {
	char id[65]; /* "": unused */
	char *name, *body;
	const char *state;
};

struct network {
	char id[65], *name, *body;
};

struct scripted_engine {
	int listener;
	request_fn *fn;
	void *ctx;
	struct connection connections[ENGINE_FDS_MAX];
	struct container containers[CONTAINERS_MAX];
	struct network networks[NETWORKS_MAX];
	const char *images[IMAGES_MAX];
	size_t n_images, n_networks;
	unsigned long long made; /* ids count up */
	char out[REQUEST_MAX];
	size_t out_len;
};

/* ---- texts ---- */

__attribute__((format(printf, 2, 3))) static void add(struct scripted_engine *e, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(e->out + e->out_len, sizeof(e->out) - e->out_len, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(e->out) - e->out_len)
		die("the scripted engine's answer is too long");
	e->out_len += (size_t)n;
}

/* The end of the JSON value that begins at `s`. */
static const char *value_end(const char *s)
{
	int depth = 0;
	bool in_string = false;

	for (; *s; s++) {
		if (in_string) {
			if (*s == '\\' && s[1])
				s++;
			else if (*s == '"')
				in_string = false;
		} else if (*s == '"') {
			in_string = true;
		} else if (*s == '{' || *s == '[') {
			depth++;
		} else if (*s == '}' || *s == ']') {
			if (depth == 0)
				return s;
			if (--depth == 0)
				return s + 1;
		} else if (depth == 0 && *s == ',') {
			return s;
		}
		if (depth == 0 && !in_string && *s == '"')
			return s + 1;
	}
	return s;
}

/* The value of `key` in the object at `s`, as text of length *n; NULL: none. */
static const char *member(const char *s, const char *key, size_t *n)
{
	size_t key_len = strlen(key);

	s = strchr(s, '{');
	while (s && *s && *s != '}') {
		const char *name = strchr(s, '"'), *name_end, *value, *end;

		if (!name)
			return NULL;
		name_end = value_end(name);
		value = strchr(name_end, ':');
		if (!value)
			return NULL;
		value += 1 + strspn(value + 1, " ");
		end = value_end(value);
		if ((size_t)(name_end - name) == key_len + 2 && strncmp(name + 1, key, key_len) == 0) {
			*n = (size_t)(end - value);
			return value;
		}
		s = end;
	}
	return NULL;
}

static char *copy_member(const char *s, const char *key, const char *otherwise)
{
	size_t n;
	const char *value = member(s, key, &n);

	if (!value)
		return strdup(otherwise);
	return *value == '"' ? strndup(value + 1, n - 2) : strndup(value, n);
}

static void decode(char *s)
{
	char *to = s;

	for (; *s; s++) {
		unsigned c;

		if (*s == '%' && sscanf(s + 1, "%2x", &c) == 1) {
			*to++ = (char)c;
			s += 2;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

/* ---- sending ---- */

static void send_all(struct connection *c, const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = send(c->fd, text, len, MSG_NOSIGNAL);

		if (n < 0)
			return; /* it went away */
		text += n;
		len -= (size_t)n;
	}
}

static void answer(struct scripted_engine *e, struct connection *c, int status, const char *body, size_t len)
{
	char head[256];
	int n = snprintf(head, sizeof(head),
			 "HTTP/1.1 %d X\r\nApi-Version: 1.41\r\nContent-Type: application/json\r\nServer: scripted\r\n",
			 status);

	if (status == 204 || status == 304)
		n += snprintf(head + n, sizeof(head) - (size_t)n, "\r\n");
	else
		n += snprintf(head + n, sizeof(head) - (size_t)n, "Content-Length: %zu\r\n\r\n", len);
	memmove(e->out + n, body, len);
	memcpy(e->out, head, (size_t)n);
	send_all(c, e->out, (size_t)n + len);
	e->out_len = 0;
}

/* What add() gathered. */
static void answer_out(struct scripted_engine *e, struct connection *c, int status)
{
	if (e->out_len + 256 > sizeof(e->out))
		die("the scripted engine's answer is too long");
	answer(e, c, status, e->out, e->out_len);
}

static void tell(struct scripted_engine *e, const char *type, const char *action, const char *id, const char *name)
{
	char text[1024], chunk[1100];
	struct timespec t;
	int n;

	clock_gettime(CLOCK_REALTIME, &t);
	n = snprintf(text, sizeof(text),
		     "{\"Type\":\"%s\",\"Action\":\"%s\",\"Actor\":{\"ID\":\"%s\",\"Attributes\":{\"name\":\"%s\"}},"
		     "\"scope\":\"local\",\"time\":%lld,\"timeNano\":%lld%09ld}\n",
		     type, action, id, name, (long long)t.tv_sec, (long long)t.tv_sec, t.tv_nsec);
	n = snprintf(chunk, sizeof(chunk), "%x\r\n%s\r\n", (unsigned)n, text);
	for (size_t i = 0; i < ENGINE_FDS_MAX; i++)
		if (e->connections[i].fd >= 0 && e->connections[i].is_events)
			send_all(&e->connections[i], chunk, (size_t)n);
}

/* ---- containers ---- */

/* By reference or id. */
static size_t find_image(const struct scripted_engine *e, const char *ref)
{
	char id[80];
	size_t i;

	for (i = 0; i < e->n_images; i++) {
		snprintf(id, sizeof(id), "sha256:%064zx", i + 1);
		if (strcmp(ref, id) == 0 || strcmp(ref, e->images[i]) == 0)
			break;
	}
	return i;
}

static void add_container(struct scripted_engine *e, const struct container *c)
{
	bool running = strcmp(c->state, "running") == 0;
	char *host = copy_member(c->body, "HostConfig", "{}"), *joins = copy_member(c->body, "NetworkingConfig", "{}");
	char *networks = copy_member(joins, "EndpointsConfig", "{}"), *ref = copy_member(c->body, "Image", "");

	add(e,
	    "{\"Id\":\"%s\",\"Name\":\"/%s\",\"Created\":\"2026-01-01T00:00:00Z\",\"Image\":\"sha256:%064zx\","
	    "\"State\":{\"Status\":\"%s\",\"Running\":%s,\"ExitCode\":0,\"Error\":\"\","
	    "\"StartedAt\":\"2026-01-01T00:00:00Z\",\"FinishedAt\":\"0001-01-01T00:00:00Z\"},"
	    "\"HostConfig\":%s,\"Config\":%s,\"NetworkSettings\":{\"Networks\":%s}}",
	    c->id, c->name, find_image(e, ref) + 1, c->state, running ? "true" : "false", host, c->body, networks);
	free(host);
	free(joins);
	free(networks);
	free(ref);
}

static struct container *find(struct scripted_engine *e, const char *id)
{
	for (size_t i = 0; i < CONTAINERS_MAX; i++)
		if (*e->containers[i].id && strcmp(e->containers[i].id, id) == 0)
			return &e->containers[i];
	return NULL;
}

static void create(struct scripted_engine *e, struct connection *conn, const char *query, const char *body)
{
	struct container *c = e->containers;
	const char *name = strstr(query, "name=");

	while (*c->id)
		if (++c == e->containers + CONTAINERS_MAX)
			die("more than %d containers", CONTAINERS_MAX);
	snprintf(c->id, sizeof(c->id), "%064llx", ++e->made);
	c->name = strdup(name ? name + 5 : "nameless");
	c->body = strdup(body);
	c->state = "created";
	tell(e, "container", "create", c->id, c->name);
	add(e, "{\"Id\":\"%s\",\"Warnings\":[]}", c->id);
	answer_out(e, conn, 201);
}

static void change(struct scripted_engine *e, struct connection *conn, struct container *c, const char *verb)
{
	if (strcmp(verb, "start") == 0) {
		c->state = "running";
		tell(e, "container", "start", c->id, c->name);
	} else if (strcmp(verb, "stop") == 0) {
		c->state = "exited";
		tell(e, "container", "kill", c->id, c->name);
		tell(e, "container", "die", c->id, c->name);
		tell(e, "container", "stop", c->id, c->name);
	} else {
		die("the scripted engine cannot %s a container", verb);
	}
	answer(e, conn, 204, "", 0);
}

static void destroy(struct scripted_engine *e, struct connection *conn, struct container *c)
{
	tell(e, "container", "destroy", c->id, c->name);
	free(c->name);
	free(c->body);
	memset(c, 0, sizeof(*c));
	answer(e, conn, 204, "", 0);
}

/* `rest` is what follows /containers/ */
static void serve_container(struct scripted_engine *e, struct connection *conn, const char *method, char *rest,
			    const char *body)
{
	char *query = strchrnul(rest, '?'), *verb;
	struct container *c;

	if (*query)
		*query++ = '\0';
	decode(query);
	if (strcmp(rest, "create") == 0) {
		create(e, conn, query, body);
		return;
	}
	verb = strchrnul(rest, '/');
	if (*verb)
		*verb++ = '\0';
	c = find(e, rest);
	if (!c)
		answer(e, conn, 404, "{\"message\":\"no such container\"}", 31);
	else if (strcmp(method, "DELETE") == 0)
		destroy(e, conn, c);
	else if (strcmp(method, "POST") == 0)
		change(e, conn, c, verb);
	else {
		add_container(e, c);
		answer_out(e, conn, 200);
	}
}

static void list_containers(struct scripted_engine *e, struct connection *conn)
{
	const char *comma = "";

	add(e, "[");
	for (size_t i = 0; i < CONTAINERS_MAX; i++)
		if (*e->containers[i].id) {
			add(e, "%s{\"Id\":\"%s\"}", comma, e->containers[i].id);
			comma = ",";
		}
	add(e, "]");
	answer_out(e, conn, 200);
}

/* ---- images and networks ---- */

static void add_image(struct scripted_engine *e, size_t i)
{
	add(e,
	    "{\"Id\":\"sha256:%064zx\",\"RepoTags\":[\"%s\"],\"RepoDigests\":[],"
	    "\"Config\":{\"Cmd\":[\"/app\"],\"Env\":[\"PATH=/bin\",\"VERSION=%zu\"],\"Labels\":{}}}",
	    i + 1, e->images[i], i);
}

static void list_images(struct scripted_engine *e, struct connection *conn)
{
	add(e, "[");
	for (size_t i = 0; i < e->n_images; i++) {
		add(e, "%s", i ? "," : "");
		add_image(e, i);
	}
	add(e, "]");
	answer_out(e, conn, 200);
}

static void serve_image(struct scripted_engine *e, struct connection *conn, char *rest)
{
	char *slash;
	size_t i;

	decode(rest);
	slash = strrchr(rest, '/'); /* of /json */
	if (slash)
		*slash = '\0';
	i = find_image(e, rest);
	if (i == e->n_images) {
		answer(e, conn, 404, "{\"message\":\"no such image\"}", 27);
		return;
	}
	add_image(e, i);
	answer_out(e, conn, 200);
}

static void create_network(struct scripted_engine *e, struct connection *conn, const char *body)
{
	struct network *n = &e->networks[e->n_networks];

	if (e->n_networks++ == NETWORKS_MAX)
		die("more than %d networks", NETWORKS_MAX);
	snprintf(n->id, sizeof(n->id), "%064llx", ++e->made);
	n->name = copy_member(body, "Name", "");
	n->body = strdup(strchr(body, '{') + 1);
	tell(e, "network", "create", n->id, n->name);
	add(e, "{\"Id\":\"%s\"}", n->id);
	answer_out(e, conn, 201);
}

static void list_networks(struct scripted_engine *e, struct connection *conn)
{
	add(e, "[");
	for (size_t i = 0; i < e->n_networks; i++)
		add(e, "%s{\"Id\":\"%s\",\"Scope\":\"local\",%s", i ? "," : "", e->networks[i].id, e->networks[i].body);
	add(e, "]");
	answer_out(e, conn, 200);
}

/* ---- requests ---- */

static void open_events(struct connection *c, const char *path)
{
	static const char stream[] = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
				     "Transfer-Encoding: chunked\r\n\r\n";

	send_all(c, stream, sizeof(stream) - 1);
	if (strstr(path, "until="))
		send_all(c, "0\r\n\r\n", 5);
	else
		c->is_events = true;
}

static void serve(struct scripted_engine *e, struct connection *c, const char *method, char *path, const char *body)
{
	static const char version[] = "{\"Version\":\"20.10.24\",\"ApiVersion\":\"1.41\",\"MinAPIVersion\":\"1.12\"}";
	bool is_post = strcmp(method, "POST") == 0;

	if (path[0] == '/' && path[1] == 'v' && path[2] >= '0' && path[2] <= '9')
		path = strchrnul(path + 1, '/');
	if (strcmp(path, "/version") == 0)
		answer(e, c, 200, version, sizeof(version) - 1);
	else if (strncmp(path, "/events", 7) == 0)
		open_events(c, path);
	else if (strncmp(path, "/containers/json", 16) == 0)
		list_containers(e, c);
	else if (strncmp(path, "/containers/", 12) == 0)
		serve_container(e, c, method, path + 12, body);
	else if (strncmp(path, "/images/json", 12) == 0)
		list_images(e, c);
	else if (strncmp(path, "/images/", 8) == 0 && !is_post)
		serve_image(e, c, path + 8);
	else if (strcmp(path, "/networks/create") == 0)
		create_network(e, c, body);
	else if (strncmp(path, "/networks/", 10) == 0)
		answer(e, c, is_post ? 200 : 204, "", 0);
	else if (strcmp(path, "/networks") == 0)
		list_networks(e, c);
	else if (strncmp(path, "/volumes", 8) == 0)
		answer(e, c, 200, "{\"Volumes\":[],\"Warnings\":null}", 30);
	else
		die("the scripted engine does not know %s %s", method, path);
}

/* One request out of the buffer; false: it is not whole. */
static bool one_request(struct scripted_engine *e, struct connection *c, int64_t read_ns)
{
	char *head_end, *length, *path, *path_end, *body, method[16] = "";
	size_t body_len = 0, total;
	char kept;

	c->in[c->len] = '\0';
	head_end = strstr(c->in, "\r\n\r\n");
	if (!head_end)
		return false;
	*head_end = '\0';
	length = strcasestr(c->in, "\r\nContent-Length:");
	if (length)
		body_len = strtoul(length + 17, NULL, 10);
	*head_end = '\r';
	body = head_end + 4;
	total = (size_t)(body - c->in) + body_len;
	if (c->len < total)
		return false;
	kept = c->in[total];
	c->in[total] = '\0';
	path = strchrnul(c->in, ' ');
	snprintf(method, sizeof(method), "%.*s", (int)(path - c->in), c->in);
	path_end = strchrnul(++path, ' ');
	*path_end = '\0';
	e->fn(e->ctx, method, path, read_ns);
	serve(e, c, method, path, body);
	c->in[total] = kept;
	c->len -= total;
	memmove(c->in, c->in + total, c->len);
	return true;
}

static void serve_connection(struct scripted_engine *e, struct connection *c)
{
	ssize_t n = read(c->fd, c->in + c->len, sizeof(c->in) - 1 - c->len);
	int64_t read_ns = now_ns();

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		close(c->fd);
		*c = (struct connection){.fd = -1};
		return;
	}
	c->len += (size_t)n;
	while (one_request(e, c, read_ns))
		;
	if (c->len == sizeof(c->in) - 1)
		die("a request of more than %zu bytes", c->len);
}

static void accept_one(struct scripted_engine *e)
{
	int fd = accept4(e->listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	for (size_t i = 1; i < ENGINE_FDS_MAX; i++) /* as many as are polled beside the listener */
		if (e->connections[i].fd < 0) {
			e->connections[i].fd = fd;
			e->connections[i].is_events = false;
			e->connections[i].len = 0;
			return;
		}
	die("more than %d connections to the engine", ENGINE_FDS_MAX);
}

struct scripted_engine *scripted_engine_new(const char *socket, const char *const *images, request_fn *fn, void *ctx)
{
	struct scripted_engine *e = calloc(1, sizeof(*e));

	if (!e)
		die("out of memory");
	e->fn = fn;
	e->ctx = ctx;
	for (; *images && e->n_images < IMAGES_MAX; images++)
		e->images[e->n_images++] = *images;
	for (size_t i = 0; i < ENGINE_FDS_MAX; i++)
		e->connections[i].fd = -1;
	e->listener = unix_listen(socket);
	return e;
}

size_t scripted_engine_poll(struct scripted_engine *e, struct pollfd *fds)
{
	size_t n = 0;

	fds[n++] = (struct pollfd){.fd = e->listener, .events = POLLIN};
	for (size_t i = 1; i < ENGINE_FDS_MAX; i++)
		if (e->connections[i].fd >= 0)
			fds[n++] = (struct pollfd){.fd = e->connections[i].fd, .events = POLLIN};
	return n;
}

void scripted_engine_serve(struct scripted_engine *e, const struct pollfd *fds, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!fds[i].revents)
			continue;
		if (fds[i].fd == e->listener)
			accept_one(e);
		for (size_t k = 1; k < ENGINE_FDS_MAX; k++)
			if (e->connections[k].fd == fds[i].fd) {
				serve_connection(e, &e->connections[k]);
				break;
			}
	}
}

unsigned scripted_engine_running(const struct scripted_engine *e)
{
	unsigned n = 0;

	for (size_t i = 0; i < CONTAINERS_MAX; i++)
		n += *e->containers[i].id && strcmp(e->containers[i].state, "running") == 0;
	return n;
}
