/* Certificates as text: what is taken, in which forms, and what is refused. */
#include "check.h"

#include "host/pem.h"
#include "util/buf.h"
#include "util/err.h"
#include "util/mem.h"

#define B     "-----BEGIN CERTIFICATE-----"
#define E     "-----END CERTIFICATE-----"
#define GOOD  "MA4wAwIBATADAgEBAwIAAQ==" /* the least that looks like a certificate from outside */
#define BLOCK B "\n" GOOD "\n" E "\n"

static int add(const char *text, char **out, struct err *err)
{
	struct buf b;
	int n;

	buf_init(&b, 4096);
	buf_adds(&b, "before\n");
	n = pem_add_certificates(text, &b, err);
	*out = buf_steal(&b);
	return n;
}

static void each_form_of_a_certificate_becomes_the_same_clean_block(void **state)
{
	static const char *const forms[] = {
		BLOCK,
		"# the authority of example.org\n" BLOCK "trailing words",
		B "\r\n" GOOD "\r\n" E "\r\n",
		B " " GOOD " " E,
		B GOOD E,
		"  " B "\nMA4wAwIB\nATADAgEBAwIAAQ\n==\n" E,
		/* base64 of the whole, as config.json has it */
		"LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1BNHdBd0lCQVRBREFnRUJBd0lBQVE9PQotLS0tLUVORCBDRVJUSUZJQ0FURS0tLS"
		"0tCg"
		"==",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
		AUTO_FREE char *out = NULL;
		struct err err = {0};

		if (add(forms[i], &out, &err) != 1)
			fail_msg("form %zu: %s", i, err.msg);
		assert_string_equal(out, "before\n" BLOCK);
	}
}

static void several_certificates_stay_in_order_and_long_ones_get_lines_of_64(void **state)
{
	/* 96 bytes: 128 digits */
	unsigned char der[96] = {0x30, 94, 0x30, 83, 0x02, 81, [87] = 0x30, 3, 0x02, 1, 1, 0x03, 2, 0, 1};
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char text[129] = "";
	AUTO_FREE char *out = NULL, *in = NULL, *want = NULL;
	struct err err = {0};

	(void)state;
	for (size_t i = 0; i < 32; i++)
		for (size_t k = 0; k < 4; k++) {
			unsigned value = (unsigned)der[3 * i] << 16 | (unsigned)der[3 * i + 1] << 8 | der[3 * i + 2];

			text[4 * i + k] = digits[value >> (18 - 6 * k) & 63];
		}
	in = mem_printf(BLOCK B "%s" E, text);
	want = mem_printf("before\n" BLOCK B "\n%.64s\n%s\n" E "\n", text, text + 64);
	if (add(in, &out, &err) != 2)
		fail_msg("%s", err.msg);
	assert_string_equal(out, want);
}

static void what_is_broken_is_told_and_nothing_of_it_is_taken(void **state)
{
	static const struct {
		const char *text, *msg;
	} rows[] = {
		{"", "there is no line \"" B "\" in it"},
		{"rubbish", "there is no line \"" B "\" in it"},
		{"cnViYmlzaA==", "there is no line \"" B "\" in it"},
		{"-----BEGIN PRIVATE KEY-----\n" GOOD "\n-----END PRIVATE KEY-----\n",
		 "there is no line \"" B "\" in it"},
		{B "\n" GOOD "\n", "certificate 1 has no line \"" E "\""},
		{B E, "certificate 1 is not in base64"},
		{B "\nMA4wAw!BATADAgEBAwIAAQ==\n" E, "certificate 1 is not in base64"},
		{B "\nMA4wAwIBATADAgEBAwIAAQ=\n" E, "certificate 1 is not in base64"},
		{B "\nMA4wAwIBATADAgEBAwIAAQ==AAAA\n" E, "certificate 1 is not in base64"},
		{B "\nMA4wAwIBATADAgEBAwIAAQA=\n" E, "certificate 1 is none: what it decodes to is something else"},
		{B "\nMA4wAwIBATADAgEBAwIA\n" E, "certificate 1 is none: what it decodes to is something else"},
		{B "\nMQ4wAwIBATADAgEBAwIAAQ==\n" E, "certificate 1 is none: what it decodes to is something else"},
		{BLOCK B "\nMIIBAAAA\n" E, "certificate 2 is none: what it decodes to is something else"},
		{BLOCK B "\n" BLOCK, "certificate 2 is not in base64"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO_FREE char *out = NULL;
		struct err err = {0};

		assert_int_equal(add(rows[i].text, &out, &err), -EINVAL);
		assert_string_equal(err.msg, rows[i].msg);
		assert_string_equal(out, "before\n");
	}
}

static void what_does_not_fit_is_left_out_whole(void **state)
{
	struct err err = {0};
	struct buf b;

	(void)state;
	for (size_t room = strlen(BLOCK); room >= strlen(BLOCK) - 1; room--) {
		buf_init(&b, room + 1);
		buf_adds(&b, "x");
		assert_int_equal(pem_add_certificates(BLOCK, &b, &err), room == strlen(BLOCK) ? 1 : -E2BIG);
		assert_int_equal(b.len, room == strlen(BLOCK) ? room + 1 : 1);
		buf_deinit(&b);
	}
	assert_non_null(strstr(err.msg, "the certificates have more than"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_form_of_a_certificate_becomes_the_same_clean_block),
		cmocka_unit_test(several_certificates_stay_in_order_and_long_ones_get_lines_of_64),
		cmocka_unit_test(what_is_broken_is_told_and_nothing_of_it_is_taken),
		cmocka_unit_test(what_does_not_fit_is_left_out_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
