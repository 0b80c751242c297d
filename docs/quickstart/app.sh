#!/bin/sh
# The application of the quick start. It says hello, takes its update lock while it is busy (SIGUSR1: a job comes in; SIGUSR2: the
# job is done), and stops when it is asked to.
lock=/tmp/balena/updates.lock

busy() {
	if (set -C; : >$lock) 2>/dev/null; then # exclusively: fails when somebody else holds it
		echo "release $RELEASE: busy, do not stop me now (took $lock)"
	else
		echo "release $RELEASE: I would be busy, but an update is about to begin"
	fi
}
idle() {
	rm -f $lock
	echo "release $RELEASE: done, you may stop me (removed $lock)"
}

trap busy USR1
trap idle USR2
trap 'echo "release $RELEASE: stopping"; exit 0' TERM
echo "hello from release $RELEASE"
while :; do
	sleep 3600 &
	wait $!
done
