/*
 * Parsing the CA bundle takes OpenSSL some 30 ms: too long for the loop. curl parses it in the first TLS handshake and
 * keeps the result in the multi handle, so the first handshake is made here, on libuv's pool, before the loop uses the
 * handle: with ourselves, over an abstract Unix socket whose far end has nothing to say. It fails, and may.
 */
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "net/http_client_internal.h"
#include "util/mem.h"

#define PATIENCE_MS 5000L

/* A listener under a name that the kernel picks. Returns its descriptor, or -1. */
static int listen_somewhere(char name[sizeof(((struct sockaddr_un *)0)->sun_path)])
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	socklen_t len = sizeof(a);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a.sun_family)) == 0 && listen(fd, 1) == 0 &&
	    getsockname(fd, (struct sockaddr *)&a, &len) == 0 && len > sizeof(a.sun_family) + 1) {
		snprintf(name, sizeof(a.sun_path), "%.*s", (int)(len - sizeof(a.sun_family) - 1), a.sun_path + 1);
		return fd;
	}
	if (fd >= 0)
		close(fd);
	return -1;
}

static void shake_hands(CURLM *multi, CURL *easy, int listener)
{
	AUTO_CLOSE int far = -1;
	int running = 0;

	if (curl_multi_add_handle(multi, easy) != CURLM_OK)
		return;
	do {
		if (curl_multi_perform(multi, &running) != CURLM_OK)
			break;
		if (far < 0 && (far = accept(listener, NULL, NULL)) >= 0)
			shutdown(far, SHUT_WR); /* the end, where the server's hello should come */
		if (running)
			curl_multi_poll(multi, NULL, 0, 10, NULL);
	} while (running);
	curl_multi_remove_handle(multi, easy);
}

void client_warm_up(CURLM *multi, const char *ca_file)
{
	char name[sizeof(((struct sockaddr_un *)0)->sun_path)];
	AUTO_CLOSE int listener = listen_somewhere(name);
	CURL *easy = listener < 0 ? NULL : curl_easy_init();

	if (!easy)
		return; /* the first call will take its time */
	curl_easy_setopt(easy, CURLOPT_URL, "https://127.0.0.1/");
	curl_easy_setopt(easy, CURLOPT_ABSTRACT_UNIX_SOCKET, name);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, PATIENCE_MS);
	curl_easy_setopt(easy, CURLOPT_CAINFO, ca_file); /* exactly as the calls will ask for it */
	curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	shake_hands(multi, easy, listener);
	curl_easy_cleanup(easy);
}
