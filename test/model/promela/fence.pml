/* Copyright The Selvage Authors.
   SPDX-License-Identifier: Apache-2.0

   Fenced: one peer is declared out, cancelled and declared again, for as long
   as one likes, while its agent takes, renews and loses its Lease, and two
   controllers gather evidence, seal and move its range to an heir.

   Nothing is bounded but how many requests are on their way at once: one of
   each controller, one on the Lease and one acknowledgement of the agent.

   A compare-and-swap on a resourceVersion is a flag: it is set as the object
   is read, and every write of the object clears it for everybody. That is
   exact, since no version ever comes again, and keeps the states finite. So
   is "names this generation": a flag that a new generation clears.

   Clocks: A is for how long a renewal is good on the slowest clock of an
   agent, B for how long a Lease is watched on the fastest of a controller.
   Every other rate is among the behaviours: an agent need not allocate to the
   end, and a controller need not look at once. */

#ifdef DRIFT	/* a clock drifts by more than the margin */
#define A 3
#else
#define A 2
#endif
#define B 2

mtype = { Active, Fencing, Transferring, Removed };	/* phases */
mtype = { Absent, Run, Sealed };			/* who holds the Lease */
mtype = { Down, Serving, Suspended, Fenced };		/* what the agent does */
mtype = { None, Reading, Ready };			/* how far the taking of the Lease is */
mtype = { Take, Renew, Place, Answer };			/* requests of the agent, and their answer */
mtype = { ToActive, ToFencing, ToTransferring, ToRemoved, Seal, SealExpired, Create, Spend, Move, Dismiss };

/* The API server. */
bit peer = 1;			/* there is a Peer */
mtype phase = Active;
bit removal;
bit ack;			/* this generation is acknowledged */
mtype holder = Absent;
bit mark, markExpired;		/* sealed for this generation; after the wait */
bit mine;			/* the run that holds the Lease is the agent's present one */
bit heirs;			/* the range is the heir's */

/* The agent. */
mtype mode = Serving;
bit known;			/* it knows the Lease that it holds */
byte until;			/* ticks for which it may allocate */
mtype taking = None;
mtype found;			/* what it read */
mtype req = None;		/* a request about the Lease, on its way */
bit reqMine;			/* sent by the present run */
bit reqFresh;			/* the answer: the Lease is as it says */
byte reqLeft;
bit ackSent, ackFresh;		/* an acknowledgement on its way; it names this generation */

/* The controllers. */
typedef Controller {
	bit looking;		/* the Peer is read, the Lease is not */
	bit peerFresh;		/* the Peer is as it was read */
	mtype phase;
	bit peer, removal, ack;
	byte watched;		/* ticks since this version of the Lease was seen first */
	bit seen;		/* and it is still there */
#ifdef WATCH_ABSENT
	bit absent;		/* as it looked last, there was none */
#endif
	mtype write;		/* on its way */
	bit current		/* its mark names the present generation */
}
Controller c[2];

#define may (mode == Serving && until > 0)

/* A request that rests on what has changed can do nothing any more: it is as
   good as lost. Duplicates are such, since a write lands on its own version.
   Where a rule is out, so that it can do something, it stays on its way. */
#ifdef PEER_WITHOUT_CAS
#define peerWrite(k) false
#else
#define peerWrite(k) (c[k].write == ToActive || c[k].write == ToFencing || c[k].write == ToTransferring || c[k].write == ToRemoved || c[k].write == Dismiss)
#endif
#ifdef SEAL_WITHOUT_CAS
#define leaseWrite(k) false
#else
#define leaseWrite(k) (c[k].write == Seal || c[k].write == SealExpired || c[k].write == Spend)
#endif
inline stale(k) { c[k].write = 0; c[k].current = 0 }

inline wrotePeer() {
	c[0].peerFresh = 0; c[1].peerFresh = 0;
	if :: peerWrite(0) -> stale(0) :: else fi;
	if :: peerWrite(1) -> stale(1) :: else fi
}
inline wroteLease() {
	known = 0; reqFresh = 0;
#ifdef WATCH_ABSENT
	if :: !c[0].absent -> c[0].seen = 0; c[0].watched = 0 :: else fi;
	if :: !c[1].absent -> c[1].seen = 0; c[1].watched = 0 :: else fi;
#else
	c[0].seen = 0; c[1].seen = 0; c[0].watched = 0; c[1].watched = 0;
#endif
#ifndef TAKE_WITHOUT_CAS
	if :: taking != None && found != Absent -> taking = None; found = 0 :: else fi;
	if :: req == Take -> req = None; reqMine = 0; reqLeft = 0 :: else fi;
#endif
#ifndef RENEW_WITHOUT_CAS
	if :: req == Renew -> req = None; reqMine = 0; reqLeft = 0 :: else fi;
#endif
	if :: leaseWrite(0) -> stale(0) :: else fi;
	if :: leaseWrite(1) -> stale(1) :: else fi
}
inline wroteRange() {
	if :: c[0].write == Move -> stale(0) :: else fi;
	if :: c[1].write == Move -> stale(1) :: else fi
}
#ifdef ANY_ACK
#define oldAck(x) ackOld = ackOld || (x)
#define someAck(k) (c[k].ack || ackOld)	/* an acknowledgement of an older generation counts */
bit ackOld;
#else
#define oldAck(x) skip
#define someAck(k) c[k].ack
#endif
#ifdef ANY_SEAL
#define oldMark(x) markOld = markOld || (x)
#define sealedFor(m) (holder == Sealed && (m || markOld))	/* a seal made for an older generation counts */
bit markOld;
#else
#define oldMark(x) skip
#define sealedFor(m) (holder == Sealed && m)
#endif
inline newGeneration() {
	oldAck(ack); ack = 0; ackFresh = 0;
	oldMark(mark); mark = 0; markExpired = 0;
	c[0].current = 0; c[1].current = 0
}
inline unmark() {
	mark = 0; markExpired = 0;
#ifdef ANY_SEAL
	markOld = 0
#endif
}

/* People declare and cancel, and delete the Lease by hand. */
active proctype people() {
	do
	:: d_step { peer && phase == Active && !removal -> printf("the removal is declared\n"); removal = 1; newGeneration(); wrotePeer() }
	:: d_step { peer && removal && (phase == Active || phase == Fencing) -> printf("the removal is cancelled\n"); removal = 0; newGeneration(); wrotePeer() }
	:: d_step { holder != Absent -> printf("the lease is deleted by hand\n"); holder = Absent; mine = 0; unmark(); wroteLease() }
	od
}

/* Time passes for all at once. */
active proctype time() {
	do
	:: d_step {
		until > 0 || reqLeft > 0 || (c[0].seen && c[0].watched < B) || (c[1].seen && c[1].watched < B) ->
		printf("time passes\n");
#ifndef NO_GATE	/* it allocates whatever its clock shows */
		if :: until > 0 -> until-- :: else fi;
#endif
		if :: reqLeft > 0 -> reqLeft-- :: else fi;
		if :: c[0].seen && c[0].watched < B -> c[0].watched++ :: else fi;
		if :: c[1].seen && c[1].watched < B -> c[1].watched++ :: else fi
	   }
	od
}

inline sendAck() {
	if
	:: !ackSent -> ackSent = 1; ackFresh = 1
	:: else
	fi
}

/* The agent. */
active proctype agent() {
	do
	/* It makes consistent LISTs. */
	:: d_step {
		mode != Down && mode != Fenced -> printf("the agent makes its lists\n");
		if
		:: !peer || phase == Transferring || phase == Removed -> mode = Fenced; until = 0; taking = None; found = 0; known = 0;
			if :: req == Answer -> req = None; reqFresh = 0; reqLeft = 0 :: else fi
		:: else ->
			if
			:: removal ->
#ifdef ACK_WHILE_SERVING	/* it acknowledges, and allocates on until it looks again */
				if :: mode == Serving && !ackSent && !ack -> sendAck() :: else -> mode = Suspended fi;
#else
				mode = Suspended; sendAck();
#endif
				taking = None; found = 0
			:: else ->
				if :: mode == Suspended -> mode = Serving :: else fi;
				if :: taking == Reading -> taking = Ready :: else fi
			fi
		fi
	   }
	/* It takes its Lease: it reads that, then come the LISTs above, then it writes. */
	:: d_step { mode == Serving && taking == None && !known -> printf("the agent reads its lease\n"); found = holder;
#ifdef TAKE_WITHOUT_LISTS	/* on LISTs that it made before */
		taking = Ready
#else
		taking = Reading
#endif
	   }
	:: d_step { mode == Serving && taking == Ready && req == None -> printf("the agent asks for its lease\n");
		taking = None; reqMine = 1;
#ifndef TAKE_ABSENT
		if :: found == Absent -> req = Place :: else -> req = Take; reqLeft = A fi;
#else		/* where there is none, it creates it as its holder */
		if :: found == Absent -> req = Place :: else -> req = Take fi;
		reqLeft = A;
#endif
		found = 0
	   }
	/* It renews, whatever it has heard, until it knows that it is out. */
	:: d_step { mode != Down && mode != Fenced && known && req == None -> printf("the agent sends a renewal\n"); req = Renew; reqMine = 1; reqLeft = A }
	/* Its request lands, and the answer arrives, or is lost. */
	:: d_step {
#ifdef TAKE_ABSENT
		((req == Take || req == Renew) && holder != Absent) || (req == Place && holder == Absent) ->
#else
		(req == Take || req == Renew) && holder != Absent ->
#endif
		printf("the agent's request lands: %e\n", req);
		assert(phase == Active || phase == Fencing);	/* Fenced: nobody gets hold of it later */
		req = None; holder = Run; mine = reqMine; unmark(); wroteLease();
		if :: reqMine -> req = Answer; reqFresh = 1 :: else -> reqLeft = 0 fi;
		reqMine = 0
	   }
	:: d_step { req == Answer -> printf("the answer arrives\n"); req = None; known = reqFresh; reqFresh = 0;
#ifdef GATE_FROM_ANSWER	/* the time counts from the answer */
		until = A;
#else
		until = (until > reqLeft -> until : reqLeft);
#endif
		reqLeft = 0
	   }
#ifndef TAKE_ABSENT
	:: d_step { req == Place -> printf("a sealed lease is made, if there is none\n"); req = None; reqMine = 0;
		if :: holder == Absent -> holder = Sealed; mine = 0; unmark(); wroteLease() :: else fi }
#endif
	:: d_step { req != None -> printf("what is on its way is lost\n"); req = None; reqMine = 0; reqFresh = 0; reqLeft = 0 }	/* it is lost */
	/* After an unknown outcome, it reads. */
	:: d_step { mode != Down && mode != Fenced && !known && holder == Run && mine -> printf("the agent reads that it holds its lease\n"); known = 1 }
	/* Its acknowledgement lands. */
	:: d_step { ackSent && peer -> printf("the acknowledgement lands\n"); ack = ack || ackFresh; oldAck(!ackFresh); ackSent = 0; ackFresh = 0; wrotePeer() }
	/* It crashes, and starts. A disk that says fenced stays so. */
	:: d_step { mode == Serving || mode == Suspended -> printf("the agent crashes\n"); mode = Down; until = 0; taking = None; found = 0; known = 0; reqMine = 0; mine = 0;
		if :: req == Answer -> req = None; reqFresh = 0; reqLeft = 0 :: else fi }
	:: d_step { mode == Down -> printf("the agent starts\n"); mode = Serving }
	/* It gives out an address. */
	:: d_step { may -> printf("the agent gives out an address\n"); assert(!heirs) }
	od
}

/* What a controller decides on what it has read. */
inline decide(k) {
	if
	:: !c[k].peer ->
		if :: holder == Sealed && c[k].watched >= B -> c[k].write = Spend :: else fi
	:: c[k].peer && c[k].phase == Active && c[k].removal -> c[k].write = ToFencing
	:: c[k].peer && c[k].phase == Fencing && !c[k].removal -> c[k].write = ToActive
	:: c[k].peer && c[k].phase == Fencing && c[k].removal ->
		if
		:: someAck(k) ->
			if
#ifdef NO_SEAL
			:: true -> c[k].write = ToTransferring
#else
			:: sealedFor(mark) -> c[k].write = ToTransferring
			:: else -> c[k].write = (holder == Absent -> Create : Seal)
#endif
			fi
		:: else ->
			if
			:: sealedFor(markExpired) -> c[k].write = ToTransferring
#ifdef WATCH_ABSENT	/* an absent Lease is watched like another */
			:: holder == Absent && c[k].watched >= B -> c[k].write = ToTransferring
#else
			:: holder == Absent -> c[k].write = Create
#endif
#ifdef NO_WATCH
			:: holder != Absent && !sealedFor(markExpired) -> c[k].write = SealExpired
#else
#ifdef NO_WATCH_SEALED	/* one that is found sealed is not watched */
			:: holder == Sealed && !sealedFor(markExpired) -> c[k].write = SealExpired
			:: holder == Run && c[k].watched >= B -> c[k].write = SealExpired
#else
			:: holder != Absent && !sealedFor(markExpired) && c[k].watched >= B -> c[k].write = SealExpired
#endif
#endif
			:: else
			fi
		fi
	:: c[k].peer && c[k].phase == Transferring -> c[k].write = (heirs -> ToRemoved : Move)
	:: c[k].peer && c[k].phase == Removed -> c[k].write = Dismiss
	:: else
	fi
}

inline land(k) {
	if
	:: c[k].write == ToActive && peer -> phase = Active; wrotePeer()
	:: c[k].write == ToFencing && peer -> phase = Fencing; wrotePeer()
	:: c[k].write == ToTransferring && peer ->
		assert(removal);		/* Monotone: not what was cancelled */
		assert(holder != Run);	/* Fenced: no renewal can land */
		assert(!may);			/* Fenced: it can start no allocation */
		phase = Transferring; wrotePeer()
	:: c[k].write == ToRemoved && peer -> phase = Removed; wrotePeer()
	:: c[k].write == Dismiss && peer -> peer = 0; ack = 0; ackSent = 0; ackFresh = 0; wrotePeer()
	:: c[k].write == Seal && holder != Absent -> holder = Sealed; mine = 0;
		oldMark(!c[k].current); mark = mark || c[k].current; wroteLease()
	:: c[k].write == SealExpired && holder != Absent -> holder = Sealed; mine = 0;
		oldMark(!c[k].current); mark = mark || c[k].current; markExpired = markExpired || c[k].current; wroteLease()
	:: c[k].write == Create && holder == Absent -> holder = Sealed; mine = 0; wroteLease()
	:: c[k].write == Spend && holder != Absent -> holder = Absent; unmark(); wroteLease()
	:: c[k].write == Move -> heirs = 1; wroteRange()
	:: else
	fi
}

inline forget(k) { c[k].looking = 0; c[k].peerFresh = 0; c[k].peer = 0; c[k].phase = 0; c[k].removal = 0; c[k].ack = 0 }

/* A controller: any step may be long after the one before. */
active [2] proctype controller() {
	byte k = _pid - 3;
	do
	:: d_step { !c[k].looking && c[k].write == 0 -> printf("controller %d lists the peers\n", k);
		c[k].looking = 1; c[k].peerFresh = 1;
		c[k].peer = peer; c[k].phase = phase; c[k].removal = removal; c[k].ack = ack
	   }
	:: d_step { c[k].looking -> printf("controller %d lists the leases\n", k);
#ifdef WATCH_ABSENT
		if :: c[k].absent != (holder == Absent) -> c[k].watched = 0 :: else fi;
		c[k].seen = 1; c[k].absent = (holder == Absent);
#else
		c[k].seen = holder != Absent;
#endif
		decide(k);
		if
		:: peerWrite(k) && !c[k].peerFresh -> c[k].write = 0	/* it will be refused */
		:: else -> c[k].current = c[k].peerFresh && (c[k].write == Seal || c[k].write == SealExpired)
		fi;
		forget(k)
	   }
	:: atomic { c[k].write != 0 -> d_step { printf("controller %d's write lands: %e\n", k, c[k].write); land(k) };
		if
		:: d_step { c[k].write = 0; c[k].current = 0 }
#if defined(PEER_WITHOUT_CAS) || defined(SEAL_WITHOUT_CAS)
		:: skip	/* a duplicate is still on its way */
#endif
		fi
	   }
	:: d_step { c[k].write != 0 -> printf("controller %d's write is lost\n", k); c[k].write = 0; c[k].current = 0 }	/* it is lost */
	:: d_step { c[k].looking || c[k].seen -> printf("controller %d crashes\n", k); c[k].seen = 0; c[k].watched = 0; forget(k) }	/* it crashes */
	od
}
