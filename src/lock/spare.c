/*
 * Lock files made ahead. While an application's lock is waited for there is time, and after its release there is none:
 * so files of ours, complete but for a name, lie ready then, and the take only links them. They go with their
 * descriptors, whatever ends us. Once made they are kept until a take needs them: an application that locks every few
 * seconds costs nothing more.
 */
#include <errno.h>
#include <unistd.h>

#include "lock/set.h"

static size_t spares_wanted(const struct lock_set *s)
{
	size_t wanted = 0;

	if (s->make == LOCK_MAKE_NAMED)
		return 0;
	for (size_t i = 0; i < s->n_apps && wanted < LOCK_SPARES_MAX; i++)
		if (s->apps[i]->n_blocking)
			wanted += s->apps[i]->n_wanted_missing;
	return wanted < LOCK_SPARES_MAX ? wanted : LOCK_SPARES_MAX;
}

bool lock_spares_short(const struct lock_set *s)
{
	return s->n_spares < spares_wanted(s);
}

/* What fails here (no descriptor, no space) is no problem yet: the take makes its own, and says so if it cannot. */
void lock_spares_on_stock(void *set)
{
	struct lock_set *s = set;
	struct err err = {0};

	while (lock_spares_short(s)) {
		int rc = lock_entry_spare(s->root_fd, s->boot_id, s->nonce, &s->spares[s->n_spares], &err);

		if (rc == -EOPNOTSUPP)
			s->make = LOCK_MAKE_NAMED;
		if (rc < 0)
			return;
		s->n_spares++;
	}
}

void lock_spares_drop(struct lock_set *s)
{
	while (s->n_spares)
		close(s->spares[--s->n_spares]);
}

int lock_spares_make(struct lock_dir *d, int dir_fd, const char *name, struct lock_entry *out, struct err *err)
{
	struct lock_set *s = d->app->set;
	int rc;

	if (d->place->persistent) /* another file system: no name there for a spare, which stays for the others */
		return lock_entry_make(dir_fd, name, s->boot_id, s->nonce, &d->base->make, out, err);

	if (s->n_spares) {
		rc = lock_entry_name(s->spares[s->n_spares - 1], dir_fd, name, s->nonce, out, err);
		if (rc == 0)
			close(s->spares[--s->n_spares]);
		if (rc == 0 || rc == -EEXIST)
			return rc;
		*err = (struct err){0};
		lock_spares_drop(s); /* the lock root, or this directory, is another mount than when they were made */
	}
	return lock_entry_make(dir_fd, name, s->boot_id, s->nonce, &s->make, out, err);
}
