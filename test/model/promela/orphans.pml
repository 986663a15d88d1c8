/* Copyright The Selvage Authors.
   SPDX-License-Identifier: Apache-2.0

   Fenced, NoLoss: a grower that has read that a peer is Active can grant long
   after that peer is removed, or gone, or another of its name is there. What
   an incarnation owns that no Peer is any more goes by the road of a removal:
   its Lease is sealed, or was taken by the other, and the wait is over.

   The first incarnation's agent never looks again if it does not care to: it
   renews for as long as the API server lets it. Another machine has the same
   name and joins as the second. Calm ends it all: from any state, one
   controller that remembers nothing is left, and has to bring things to rest.
   How requests, versions and clocks are modelled is said in fence.pml. */

#define A 2
#define B 2

mtype = { Absent, Run1, Run2, Sealed };		/* who holds the Lease of that name */
mtype = { Active, Removed, Gone };		/* the first incarnation's Peer */
mtype = { Claim, First, Heir, Nobody };		/* whose the range is */
mtype = { Take, Renew, Answer };
mtype = { Grant, Move, Create, SealFor };

bit calm;
mtype peer = Active;
bit second;			/* there is a Peer of that name with another uid */
mtype owner = Claim;
mtype holder = Run1;
bit mark;			/* it is sealed for the first incarnation */

/* The first incarnation's agent: it has stopped looking. */
bit alive = 1, known = 1;
byte until;
mtype req;
bit reqFresh;
byte reqLeft;

typedef Controller {
	mtype write;
	mtype read;		/* of the Peer; 0: it is not looking */
	bit second;		/* as it read it */
	bit seen;
	byte watched;		/* this version of the Lease */
	byte missed;		/* ticks since the incarnation was missed, plus one; 0: it is not */
#ifndef ONLY_MISSED
	byte other		/* the same, since another was seen to hold its Lease */
#endif
}
Controller c[2];

inline wroteLease() {
	known = 0; reqFresh = 0;
	c[0].seen = 0; c[1].seen = 0; c[0].watched = 0; c[1].watched = 0;
	if :: req == Renew -> req = 0; reqLeft = 0 :: else fi;
	if :: c[0].write == SealFor -> c[0].write = 0 :: else fi;
	if :: c[1].write == SealFor -> c[1].write = 0 :: else fi
}
inline wroteRange() {
	if :: c[0].write == Move || c[0].write == Grant -> c[0].write = 0 :: else fi;
	if :: c[1].write == Move || c[1].write == Grant -> c[1].write = 0 :: else fi
}

inline forget(k) {
	c[k].seen = 0; c[k].watched = 0; c[k].missed = 0; c[k].read = 0; c[k].second = 0;
#ifndef ONLY_MISSED
	c[k].other = 0
#endif
}

active proctype people() {
	do
	/* It is removed: by then it is fenced, as fence.pml shows. */
	:: d_step { !calm && peer == Active && until == 0 -> printf("the peer is removed\n");
		peer = Removed; alive = 0; known = 0; req = 0; reqLeft = 0; reqFresh = 0; holder = Sealed; mark = 0; wroteLease() }
	:: d_step { !calm && peer == Removed && owner != First -> printf("the removed peer's object is deleted\n"); peer = Gone }
	:: d_step { !calm && peer != Gone -> printf("the peer's finalizer is stripped by hand\n"); peer = Gone }
	:: d_step { !calm && holder != Absent -> printf("the lease is deleted by hand\n"); holder = Absent; mark = 0; wroteLease() }
	:: d_step { !calm && peer == Active && holder == Run1 -> printf("the lease is sealed, for a removal that is cancelled\n"); holder = Sealed; wroteLease() }
	/* The second joins, and takes the Lease from a sealed one; where there is
	   none, it makes one, sealed. */
	:: d_step { !calm && peer == Gone && !second -> printf("another machine joins by that name\n"); second = 1 }
	:: d_step { !calm && second && holder == Sealed -> printf("the other takes the lease\n"); holder = Run2; mark = 0; wroteLease() }
	:: d_step { !calm && second && holder == Run2 -> printf("the other renews\n"); wroteLease() }
	:: d_step { !calm && second && holder == Absent -> printf("the other makes a lease, sealed\n"); holder = Sealed; wroteLease() }
	:: d_step { !calm && second && owner != First -> printf("the other leaves\n"); second = 0 }
	:: d_step { !calm -> printf("calm\n"); calm = 1; alive = 0; known = 0; req = 0; reqLeft = 0; reqFresh = 0; until = 0;
		forget(0); forget(1); c[0].write = 0; c[1].write = 0 }
	od
}

inline tick(k) {
	if :: c[k].seen && c[k].watched < B -> c[k].watched++ :: else fi;
	if :: c[k].missed > 0 && c[k].missed <= B -> c[k].missed++ :: else fi;
#ifndef ONLY_MISSED
	if :: c[k].other > 0 && c[k].other <= B -> c[k].other++ :: else fi
#endif
}
#define waits(k) ((c[k].seen && c[k].watched < B) || (c[k].missed > 0 && c[k].missed <= B) || (c[k].seen && c[k].other > 0 && c[k].other <= B))
#ifdef ONLY_MISSED
#undef waits
#define waits(k) ((c[k].seen && c[k].watched < B) || (c[k].missed > 0 && c[k].missed <= B))
#endif

active proctype time() {
	do
	:: d_step { until > 0 || reqLeft > 0 || waits(0) || waits(1) -> printf("time passes\n");
		if :: until > 0 -> until-- :: else fi;
		if :: reqLeft > 0 -> reqLeft-- :: else fi;
		tick(0); tick(1) }
	od
}

active proctype first() {
	do
	:: d_step { alive && known && req == 0 -> printf("the first sends a renewal\n"); req = Renew; reqLeft = A }
	:: d_step { req == Renew -> printf("it lands\n"); req = Answer; wroteLease(); reqFresh = 1 }
	:: d_step { req == Answer -> printf("the answer arrives\n"); known = reqFresh; reqFresh = 0; req = 0;
		until = (until > reqLeft -> until : reqLeft); reqLeft = 0 }
	:: d_step { req != 0 -> printf("what is on its way is lost\n"); req = 0; reqLeft = 0; reqFresh = 0 }
	:: d_step { alive -> printf("the first's agent dies\n"); alive = 0; known = 0; until = 0; req = 0; reqLeft = 0; reqFresh = 0 }
	od
}

/* fenced: the first incarnation can renew no more, and has run out. */
inline fenced(k) {
	if
#ifdef NO_FENCE		/* an owner that nobody is has nothing to be fenced for */
	:: true -> c[k].write = Move
#else
	:: holder == Sealed && mark -> c[k].write = Move
	:: holder == Absent -> c[k].write = Create
#ifdef OTHER_AT_ONCE	/* that another has its Lease is proof enough */
	:: holder == Run2 -> c[k].write = Move
#else
#ifdef ONLY_MISSED	/* the wait counts from when the incarnation was missed */
	:: holder == Run2 && c[k].missed > B -> c[k].write = Move
#else
#ifdef ONLY_OTHER	/* nor from when the incarnation was missed */
	:: holder == Run2 && c[k].other > B -> c[k].write = Move
#else
	:: holder == Run2 && c[k].missed > B && c[k].other > B -> c[k].write = Move
#endif
#endif
#endif
#ifdef NO_WATCH
	:: (holder == Run1 || holder == Sealed) && !mark -> c[k].write = SealFor
#else
	:: (holder == Run1 || holder == Sealed) && !mark && c[k].watched >= B -> c[k].write = SealFor
#endif
#endif
	:: else
	fi
}

active [2] proctype controller() {
	byte k = _pid - 3;
	do
	:: d_step { c[k].read == 0 && c[k].write == 0 && !(calm && k == 1) -> printf("controller %d lists the peers\n", k);
		c[k].read = peer; c[k].second = second }
	:: d_step { c[k].read != 0 -> printf("controller %d lists ranges and leases\n", k);
		c[k].seen = (holder != Absent);
#ifndef ONLY_MISSED
		c[k].other = (holder == Run2 -> (c[k].other == 0 -> 1 : c[k].other) : 0);
#endif
		/* Missed: a LIST of ranges shows an owner that a LIST of Peers before it did not. */
		c[k].missed = (c[k].read == Gone && owner == First -> (c[k].missed == 0 -> 1 : c[k].missed) : 0);
		if
		:: owner == Claim && c[k].read == Active -> c[k].write = Grant
		:: owner == Claim && calm && c[k].read != Active -> c[k].write = Move	/* swept */
#ifndef NO_ORPHANS
		:: owner == First && c[k].read == Removed -> c[k].write = Move
#ifdef BY_NAME		/* who has the name has the range */
		:: owner == First && c[k].read == Gone && !c[k].second -> fenced(k)
#else
		:: owner == First && c[k].read == Gone -> fenced(k)
#endif
#endif
		:: else
		fi;
		/* NoLoss: if it is calm, nothing is to be done and no time waited for, all has an end. */
		assert(!(calm && c[k].write == 0 && !waits(k) && (owner == First || owner == Claim)) || (owner == First && c[k].read == Active));
		c[k].read = 0; c[k].second = 0
	   }
	:: d_step { c[k].write != 0 -> printf("controller %d's write lands: %e\n", k, c[k].write);
		if
		:: c[k].write == Grant -> wroteRange(); owner = First
		:: c[k].write == Move && owner == Claim -> wroteRange(); owner = Nobody
		:: c[k].write == Move && owner == First ->
			assert(!(alive && until > 0));	/* Fenced */
			wroteRange(); owner = (peer == Removed -> Heir : Nobody)
		:: c[k].write == Create && holder == Absent -> holder = Sealed; mark = 0; wroteLease()
		:: c[k].write == SealFor -> c[k].write = 0; holder = Sealed; mark = 1; wroteLease()
		:: else
		fi;
		c[k].write = 0
	   }
	:: d_step { !calm && c[k].write != 0 -> printf("controller %d's write is lost\n", k); c[k].write = 0 }
	:: d_step { !calm && (c[k].read != 0 || c[k].seen || c[k].missed > 0) -> printf("controller %d crashes\n", k); forget(k) }
	od
}
