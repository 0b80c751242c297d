/*
 * Parsing the CA bundle takes OpenSSL some 30 ms: too long for the loop. curl parses it in the first TLS handshake and
 * keeps the result in the multi handle, so the first handshake is made here, on libuv's pool, before the loop uses the
 * handle: with nobody, over a socket pair whose far end has nothing to say. No packet leaves the machine.
 */
#include <sys/socket.h>
#include <unistd.h>

#include "net/http_client_internal.h"

#define PATIENCE_MS 5000L

static curl_socket_t on_open_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *address)
{
	int *fd = ctx, given = *fd;

	(void)purpose, (void)address;
	*fd = -1; /* curl's now, it closes it; a second one there is not */
	return given < 0 ? CURL_SOCKET_BAD : given;
}

static int on_socket_opened(void *ctx, curl_socket_t fd, curlsocktype purpose)
{
	(void)ctx, (void)fd, (void)purpose;
	return CURL_SOCKOPT_ALREADY_CONNECTED;
}

static void shake_hands(CURLM *multi, CURL *easy, const char *ca_file, int *fd)
{
	int running = 0;

	curl_easy_setopt(easy, CURLOPT_URL, "https://127.0.0.1/");
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, fd);
	curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, on_socket_opened);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, PATIENCE_MS);
	curl_easy_setopt(easy, CURLOPT_CAINFO, ca_file); /* exactly as the calls will ask for it */
	curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	if (curl_multi_add_handle(multi, easy) != CURLM_OK)
		return;
	do {
		if (curl_multi_perform(multi, &running) != CURLM_OK)
			break;
		if (running)
			curl_multi_poll(multi, NULL, 0, 100, NULL);
	} while (running);
	curl_multi_remove_handle(multi, easy);
}

void client_warm_up(CURLM *multi, const char *ca_file)
{
	CURL *easy = curl_easy_init();
	int pair[2];

	if (easy && socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0) {
		shutdown(pair[1], SHUT_WR);
		shake_hands(multi, easy, ca_file, &pair[0]);
		if (pair[0] >= 0)
			close(pair[0]);
		close(pair[1]);
	}
	curl_easy_cleanup(easy);
}
