/* Copyright The Selvage Authors.
   SPDX-License-Identifier: Apache-2.0

   OneHeir, NoLoss: three peers, each with a range, of which any may be removed
   in favour of any other, or of nobody, at any time, and the removal be
   cancelled; heirs are removed themselves, in chains and circles. Evidence is
   at hand (fence.pml) and barriers are passed (barrier.pml). Calm ends it: from
   any state, one controller brings everything to rest. A Peer that is Removed
   stays: that it can be deleted is in orphans.pml. */

#define N 3
#define NOBODY 3
mtype = { Active, Fencing, Transferring, Removed };
mtype = { ToActive, ToFencing, ToTransferring, ToRemoved, Move };

typedef Peer {
	mtype phase = Active;
	bit removal;
	byte heir;		/* declared */
	byte fixed		/* by Transferring */
}
Peer p[N];
byte owner[N] = {0, 1, 2};			/* of range i, which was peer i's at first */
bit calm;
byte moves;			/* since it is calm */

typedef Controller {
	mtype write;
	byte what;		/* which peer, or which range */
	byte from, to		/* a range's owner; the heir */
}
Controller c[2];

inline done(k) { c[k].write = 0; c[k].what = 0; c[k].from = 0; c[k].to = 0 }

/* What rests on a version that is gone is refused. */
inline wrotePeer(i) {
	if :: c[0].write != 0 && c[0].write != Move && c[0].what == i -> done(0) :: else fi;
	if :: c[1].write != 0 && c[1].write != Move && c[1].what == i -> done(1) :: else fi
}
inline wroteRange(i) {
	if :: c[0].write == Move && c[0].what == i -> done(0) :: else fi;
	if :: c[1].write == Move && c[1].what == i -> done(1) :: else fi
}

#define owns(i) (owner[0] == i || owner[1] == i || owner[2] == i)
#define gives(q, i) (q != i && p[q].phase == Transferring && p[q].fixed == i)
#ifdef NO_INHERITANCE	/* an heir that goes does not wait for what comes to it */
#define inherits(i) false
#else
#define inherits(i) (gives(0, i) || gives(1, i) || gives(2, i))
#endif
#ifdef ANY_HEIR		/* whatever state the heir is in */
#define ready(h) true
#else
#define ready(h) (h == NOBODY || (p[h].phase == Active && !p[h].removal))
#endif

active proctype people() {
	byte i, h;
	do
	:: atomic { !calm ->
		select(i : 0 .. N - 1); select(h : 0 .. N);
		if
		:: d_step { p[i].phase == Active && !p[i].removal && h != i -> printf("peer %d is to go, heir %d\n", i, h);
			p[i].removal = 1; p[i].heir = h; wrotePeer(i) }
		:: d_step { p[i].removal && (p[i].phase == Active || p[i].phase == Fencing) -> printf("the removal of peer %d is cancelled\n", i);
			p[i].removal = 0; p[i].heir = 0; wrotePeer(i) }
		:: else
		fi;
		d_step { i = 0; h = 0 }
	   }
	:: d_step { !calm -> printf("calm\n"); calm = 1; done(0); done(1) }
	od
}

inline plan(k, w, i, f, t) { c[k].write = w; c[k].what = i; c[k].from = f; c[k].to = t }

inline decidePeer(k, i) {
	if
	:: p[i].phase == Active && p[i].removal -> plan(k, ToFencing, i, 0, 0)
	:: p[i].phase == Fencing && !p[i].removal -> plan(k, ToActive, i, 0, 0)
	:: p[i].phase == Fencing && p[i].removal && ready(p[i].heir) && !inherits(i) -> plan(k, ToTransferring, i, 0, p[i].heir)
	:: p[i].phase == Transferring && !owns(i) && !inherits(i) -> plan(k, ToRemoved, i, 0, 0)
#ifdef REMOVED_EARLY	/* with ranges of its own */
	:: p[i].phase == Transferring && owns(i) -> plan(k, ToRemoved, i, 0, 0)
#endif
	:: else
	fi
}

inline decideRange(k, i) {
	if
	:: owner[i] == NOBODY
	:: owner[i] != NOBODY && p[owner[i]].phase == Transferring ->
#ifdef HEIR_NOT_FIXED	/* the heir is looked up as each range moves */
		plan(k, Move, i, owner[i], NOBODY);
		if :: ready(p[owner[i]].heir) -> c[k].to = p[owner[i]].heir :: else fi
#else
		plan(k, Move, i, owner[i], p[owner[i]].fixed)
#endif
#ifndef NO_ORPHANS	/* what comes to a peer that is removed stays there */
	:: owner[i] != NOBODY && p[owner[i]].phase == Removed -> plan(k, Move, i, owner[i], p[owner[i]].fixed)
#endif
	:: else
	fi
}

inline land(k) {
	if
	:: c[k].write == ToActive -> p[c[k].what].phase = Active; i = c[k].what; wrotePeer(i)
	:: c[k].write == ToFencing -> p[c[k].what].phase = Fencing; i = c[k].what; wrotePeer(i)
	:: c[k].write == ToTransferring -> i = c[k].what;
		assert(p[i].removal && p[i].heir == c[k].to);	/* OneHeir: the one that was declared */
		p[i].phase = Transferring; p[i].fixed = c[k].to; wrotePeer(i)
	:: c[k].write == ToRemoved -> i = c[k].what; p[i].phase = Removed; wrotePeer(i)
	:: c[k].write == Move -> i = c[k].what;
		assert(c[k].to == p[c[k].from].fixed);		/* OneHeir: all ranges go the same way */
		owner[i] = c[k].to; moves = moves + calm; wroteRange(i);
		assert(moves < 16)				/* Progress: nothing goes round for ever */
	:: else
	fi;
	done(k); i = 0
}

#define stalled(i) (p[i].phase == Fencing && p[i].removal && !ready(p[i].heir))
#define ended(i) ((p[i].phase == Active && !p[i].removal) || p[i].phase == Removed || stalled(i))
#define held(i) (owner[i] == NOBODY || p[owner[i]].phase == Active || p[owner[i]].phase == Fencing)

active [2] proctype controller() {
	byte i, k = _pid - 1;
	do
	:: atomic { c[k].write == 0 && !calm -> select(i : 0 .. N - 1); d_step { decidePeer(k, i); i = 0 } }
	:: atomic { c[k].write == 0 && !calm -> select(i : 0 .. N - 1); d_step { decideRange(k, i); i = 0 } }
	:: d_step { c[k].write == 0 && calm && k == 0 ->
		for (i : 0 .. N - 1) { if :: c[k].write == 0 -> decideRange(k, i) :: else fi }
		for (i : 0 .. N - 1) { if :: c[k].write == 0 -> decidePeer(k, i) :: else fi }
		/* NoLoss, Progress: at rest every removal has ended, or waits for a
		   person, and nothing is in the hands of who is gone. */
		i = 0;
		assert(c[k].write != 0 || (ended(0) && ended(1) && ended(2) && held(0) && held(1) && held(2)))
	   }
	:: d_step { c[k].write != 0 -> printf("controller %d: %e %d to %d\n", k, c[k].write, c[k].what, c[k].to); land(k) }
	:: d_step { c[k].write != 0 && !calm -> done(k) }	/* it is lost */
	od
}
