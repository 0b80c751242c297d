#!/bin/sh
# The application of the quick start. It says hello, and stops when it is asked to.
trap 'echo "release $RELEASE: stopping"; exit 0' TERM
echo "hello from release $RELEASE"
while :; do
	sleep 3600 &
	wait $!
done
