/*
 * The update locks of one app with two services, as a model that spin checks exhaustively: what can happen between the
 * supervisor, which takes, stops and gives back, two applications that lock whenever they like, an engine that finishes
 * every stop it was sent, targets that come and go, and SIGKILL and SIGTERM of the supervisor between any two steps.
 * The contract is spec update-locks.md. `test/model/run` checks every property of the model as it is, and that each
 * deliberately broken variant (-DBROKEN_...) fails the property named for it, so that the check is known to bite.
 *
 * What stands for what:
 *	disk[p]                  what exists at one lock path: two services, two names each. One statement on it is one
 *	                         system call: src/lock/entry.c, where link(2) is both the test and the taking
 *	taking:, back:           lock_take() and its roll_back(), one link or unlink at a time: src/lock/take.c
 *	giving:                  lock_release(), one unlink at a time
 *	armed, news              the inotify watch and an unread event in it: src/lock/watch.c, src/loop/dirwatch.c
 *	view, mine               what was last read from disk, as the planner sees it: src/lock/views.c
 *	the guards of the loop   when to take, stop, start, give back and wait: src/plan/locks.c, src/plan/services.c
 *	stopping[i]              the engine works at a stop; nothing recalls it, and the application runs on until `alive`
 *	                         ends. A new run learns of it from the engine's events (src/reconcile/watch.c)
 *	poke                     a new target, or a container's end: a round of the reconciler
 *	starting over            lock_set_new() adopts what is ours on disk: src/lock/scan.c
 *	force                    POST /v1/update {"force": true}, and the override variables: src/lock/break.c
 *
 * Assumed, not shown: a stop request written before a SIGKILL is with the engine before the next run looks (with
 * -DENGINE_READS_LATE it may come later, and the model shows what happens then: the one window that is left). A service
 * that is down is brought back without locks: the ledger says that we stopped it (src/reconcile/ledger.c).
 * An application that unlinks a lock of ours breaks the protocol, and what is taken there protects nobody (`loot`); it
 * happens where its own lock was broken by force, so it may do so once, and must not keep us from getting on.
 */

#define SERVICES 2
#define PATHS    4 /* path 2i and 2i + 1 are the two names in the directory of service i */
#define ALL      15
#ifndef KILLS
#define KILLS 2
#endif
#ifndef TARGETS
#define TARGETS 2
#endif

#define NOBODY 0
#define APP    1
#define OURS   2

/* On disk and in the engine: survives the supervisor */
byte disk[PATHS];
bool alive[SERVICES] = true, stopping[SERVICES];
bit version[SERVICES], want[SERVICES];
bool force;
/* Applications: what each believes */
bool has[SERVICES], broken[SERVICES] /* by force, and it does not know */;
byte at[SERVICES]; /* the path of its lock */
bool stolen, took; /* a lock of ours was, once; flips whenever an application gets a lock */
byte loot;          /* mask of the paths stolen from us, until they are ours again */
/* The supervisor's memory */
byte mine, view; /* bit masks of paths */
bool armed, news, poke, waiting;
bool killed, terminated, sent[SERVICES], asked[SERVICES];
bool stop_while_held;

#define BIT(p)       (1 << (p))
#define ON_DISK(who) ((disk[0] == who) + 2 * (disk[1] == who) + 4 * (disk[2] == who) + 8 * (disk[3] == who))
#define HOLDS(i)     (has[i] && !broken[i] && !(loot & BIT(at[i])))
#define HELD         (HOLDS(0) || HOLDS(1)) /* by an application, by the rules */
#define WORK(i)      (version[i] != want[i] || !alive[i])
#define ANY_WORK     (WORK(0) || WORK(1))
#define TO_STOP(i)   (alive[i] && version[i] != want[i] && !stopping[i] && !sent[i])
#define FLIGHT       (stopping[0] || stopping[1] || sent[0] || sent[1])
#define IN_ENGINE    (stopping[0] || stopping[1])
#define TWO(i)       (HOLDS(i) && (mine & BIT(at[i])))
#define FEW_TAKES    (<> [] took || <> [] !took) /* applications take locks finitely often */
#define SETTLED      (!ANY_WORK && ON_DISK(OURS) == 0)

ltl one_holder { [] !(TWO(0) || TWO(1)) }
ltl no_stop_while_held { [] !stop_while_held }
ltl locked_out_until_dead { [] !(IN_ENGINE && HELD) }
ltl waits_empty_handed { [] !(waiting && mine != 0) }
ltl wait_ends { [] ((waiting && !HELD) -> <> !waiting) }
ltl converges { (<> [] !(has[0] || has[1])) -> <> [] SETTLED }
ltl force_takes { FEW_TAKES -> [] ((force && ANY_WORK) -> <> !ANY_WORK) }

/* -------- applications -------- */

inline app_locks(n)
{
	if
	:: disk[2 * i + n] == NOBODY ->
		disk[2 * i + n] = APP;
		at[i] = 2 * i + n;
#ifdef FORCE
		took = !took;
#endif
		has[i] = true;
		news = armed
	:: else -> skip /* EEXIST: perhaps later */
	fi
}

proctype Application(byte i)
{
#ifdef DEADLOCK
	byte locked;

#endif
end:
	do
#ifdef DEADLOCK /* here it comes to an end: one that could always go on would hide that nothing else can */
	:: atomic { alive[i] && !has[i] && locked < 2 -> locked++; app_locks(0) }
	:: atomic { alive[i] && !has[i] && locked < 2 -> locked++; app_locks(1) }
#else
	:: _pid > 0 /* always: it has other things to do, perhaps for ever */
	:: atomic { alive[i] && !has[i] -> app_locks(0) }
#ifndef ONE_NAME
	:: atomic { alive[i] && !has[i] -> app_locks(1) }
#endif
#endif
	:: atomic { has[i] && !broken[i] ->
		disk[at[i]] = NOBODY;
		has[i] = false;
		news = armed
	   }
	:: atomic { has[i] && broken[i] -> /* it notices: what is there is not its own */
		has[i] = false;
		broken[i] = false
	   }
#ifdef FORCE
	:: atomic { has[i] && broken[i] && !stolen && disk[at[i]] == OURS -> /* it does not notice */
		stolen = true;
		loot = loot | BIT(at[i]);
		disk[at[i]] = NOBODY;
		has[i] = false;
		broken[i] = false;
		news = armed
	   }
#endif
	od
}

/* -------- the engine -------- */

proctype Engine(byte i)
{
end:
	do
	:: atomic { asked[i] && alive[i] -> asked[i] = false; stopping[i] = true }
	:: d_step { stopping[i] -> /* the time-out is over, or the application ended */
		stopping[i] = false;
		sent[i] = false;
		alive[i] = false;
		has[i] = false;
		broken[i] = false;
		poke = true
	   }
	od
}

/* -------- targets, and what befalls the supervisor -------- */

proctype World()
{
	byte kills, targets;

end:
	do
	:: atomic { targets < TARGETS -> targets++; want[0] = 1 - want[0]; want[1] = 1 - want[1]; poke = true }
	:: atomic { targets < TARGETS -> targets++; want[0] = 1 - want[0]; poke = true }
	:: atomic { targets < TARGETS -> targets++; want[1] = 1 - want[1]; poke = true }
	:: atomic { kills < KILLS && !killed && !terminated -> kills++; killed = true }
	:: atomic { kills < KILLS && !killed && !terminated -> kills++; terminated = true }
#ifdef FORCE
	:: atomic { !force -> force = true; poke = true }
#endif
	od
}

/* -------- the supervisor -------- */

inline look() /* at what the watched directories hold now */
{
	d_step {
		news = false;
		poke = false;
		view = ON_DISK(APP);
		mine = mine & ON_DISK(OURS)
	}
}

inline forget() /* what dies with the process */
{
	d_step {
		killed = false;
		terminated = false;
		mine = 0;
		view = 0;
		made = 0;
		p = 0;
		armed = false;
		news = false;
		poke = false;
		waiting = false;
		sent[0] = false;
		sent[1] = false
	}
}

inline link_ours()
{
	disk[p] = OURS;
	made = made | BIT(p);
	mine = mine | BIT(p);
	loot = loot & ~BIT(p)
}

inline break_lock() /* by force; whose it was does not notice */
{
	d_step {
		disk[p] = NOBODY;
		if
		:: has[p / 2] && at[p / 2] == p -> broken[p / 2] = true
		:: else -> skip /* left by one that is dead */
		fi
	}
}

inline stop(s)
{
	atomic {
		stop_while_held = stop_while_held || HELD;
#ifdef ENGINE_READS_LATE
		asked[s] = true;
		sent[s] = true
#else
		stopping[s] = true
#endif
	}
}

inline start(s)
{
	d_step {
		alive[s] = true;
		version[s] = want[s]
	}
}

/* May a service be stopped? */
#ifdef BROKEN_STOP_BEFORE_TAKE
#define MAY_STOP (view == 0 || force)
#else
#define MAY_STOP (mine == ALL)
#endif
/* Must our locks stay, whatever else? */
#ifdef BROKEN_RELEASE_IN_FLIGHT
#define KEEP false
#else
#define KEEP FLIGHT
#endif
#define WANT_TAKE    (TO_STOP(0) || TO_STOP(1) || (FLIGHT && mine != 0))
#ifdef BROKEN_WAIT_WITH_LOCKS
#define IN_THE_WAY false
#else
#define IN_THE_WAY (view != 0 && !force)
#endif
#define WANT_RELEASE (!KEEP && mine != 0 && (!(TO_STOP(0) || TO_STOP(1)) || IN_THE_WAY))

active proctype Supervisor()
{
	byte p, made;

	run Application(0);
	run Application(1);
	run Engine(0);
	run Engine(1);
	run World();

begin:
	{
#ifndef BROKEN_NO_RECHECK
		armed = true;
#endif
#ifdef BROKEN_LEFTOVER_REMOVED_AT_START
		d_step {
			for (p : 0 .. PATHS - 1) {
				if
				:: disk[p] == OURS -> disk[p] = NOBODY
				:: else -> skip
				fi
			}
		}
#endif
		mine = ON_DISK(OURS); /* adopted */
		look();
#ifdef BROKEN_NO_RECHECK
		armed = true;
#endif
		goto round;

taking:
		made = 0;
		p = 0;
		do
		:: p == PATHS -> goto round
#ifdef BROKEN_NOT_EXCLUSIVE
		:: p < PATHS && disk[p] == NOBODY -> d_step { link_ours(); p++ }
#else
		:: d_step { p < PATHS && disk[p] == NOBODY -> link_ours(); p++ }
#endif
		:: d_step { p < PATHS && disk[p] == OURS -> mine = mine | BIT(p); p++ }
		:: p < PATHS && disk[p] == APP && force -> break_lock()
		:: p < PATHS && disk[p] == APP && !force -> /* EEXIST; who is it? */
			if
			:: d_step { disk[p] == APP -> view = view | BIT(p) }; goto back
			:: disk[p] != APP /* it went meanwhile: once more */
			fi
		od;
back:
#ifndef BROKEN_WAIT_WITH_LOCKS
		do
		:: p == 0 -> break
		:: p > 0 ->
			d_step {
				p--;
				if
				:: (made & BIT(p)) && disk[p] == OURS -> disk[p] = NOBODY
				:: else -> skip
				fi;
				mine = mine & ~(made & BIT(p))
			}
		od;
#endif
		goto round;

giving:
		p = 0;
		do
		:: p == PATHS -> break
		:: p < PATHS ->
			d_step {
				if
				:: disk[p] == OURS -> disk[p] = NOBODY
				:: else -> skip
				fi;
				mine = mine & ~BIT(p);
				p++
			}
		od;
		if
		:: terminated -> goto gone
		:: else -> goto round
		fi;

round:
		p = 0;
		made = 0;
		if
		:: terminated ->
			if
			:: atomic { FLIGHT || mine == 0 -> goto gone } /* left behind on purpose */
			:: atomic { !FLIGHT && mine != 0 -> goto giving }
			fi
		:: (news || poke) && !terminated -> look(); goto round
		:: else -> skip
		fi;
		if
		:: !alive[0] -> start(0)
		:: !alive[1] -> start(1)
		:: TO_STOP(0) && MAY_STOP -> stop(0)
		:: TO_STOP(1) && MAY_STOP -> stop(1)
		:: WANT_TAKE && mine != ALL && (view == 0 || force) && alive[0] && alive[1] -> goto taking
		:: WANT_RELEASE && alive[0] && alive[1] -> goto giving
		/* asleep: in the middle of a stop */
		:: atomic { FLIGHT && (news || poke || terminated) -> skip }
		/* asleep: an application holds its lock */
		:: (TO_STOP(0) || TO_STOP(1)) && view != 0 && !force && !FLIGHT && !WANT_RELEASE ->
			waiting = true;
			(news || poke || terminated);
			waiting = false
		/* asleep: nothing is left to do */
		:: !ANY_WORK && mine == 0 && !FLIGHT ->
end_settled:
			(news || poke || terminated)
		fi;
		goto round;
gone:
		forget()
	} unless {
		killed;
		forget()
	};
	goto begin
}
