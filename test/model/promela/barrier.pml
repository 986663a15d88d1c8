/* Copyright The Selvage Authors.
   SPDX-License-Identifier: Apache-2.0

   OneHolder: a removed peer's agent is dead, and its kernel and pods go on for
   ever. Its heir gives out an address of theirs as soon as it has the range.
   No third peer, the survivor, that is in the reachable network may hear both:
   none that holds an unsealed Lease, or believes that it may allocate. (What
   holds of the survivor holds of the heir, which hears itself.)

   That the removed peer itself can allocate no more is fence.pml's, and so is
   that nobody gets hold of the Lease of a peer that is out. How requests,
   versions and clocks are modelled is said there. */

#define A 2
#define B 2

mtype = { Fencing, Transferring };		/* the removed peer's phase */
mtype = { Absent, Run, Sealed };		/* who holds the survivor's Lease */
mtype = { Down, Serving };			/* what the survivor's agent does */
mtype = { None, Reading, Ready };		/* how far the taking of the Lease is */
mtype = { Take, Renew, Place, Answer };		/* requests, and their answer */
mtype = { ToTransferring, Create, SealFor, Move };

/* The API server. */
mtype phase = Fencing;
bit moved;		/* the range is the heir's, and the address is in use */
mtype holder = Absent;
bit reported;		/* on the Lease: the removed peer is cut off */
bit mark;		/* it is sealed for this barrier */
bit mine;		/* its holder is the present run */
bit out;		/* the survivor is removed itself, as far as Transferring or further */

/* The survivor. */
mtype mode = Serving;
bit hears = 1;		/* its kernel lets in what the removed peer's pods send */
bit cut;		/* what it will report */
bit known;
byte until;
mtype taking = None;
mtype found;
mtype req = None;
bit reqMine, reqFresh, reqCut;
byte reqLeft;

typedef Controller {
	bit looking;	/* the Peers are read, the Lease is not */
	bit phaseT, out;
	byte watched;
	bit seen;
	mtype write
}
Controller c[2];

#define may (mode == Serving && until > 0 && !out)

inline wroteLease() {
	known = 0; reqFresh = 0;
	c[0].seen = 0; c[1].seen = 0; c[0].watched = 0; c[1].watched = 0;
	if :: taking != None && found != Absent -> taking = None; found = 0 :: else fi;
	if :: req == Take || req == Renew -> req = None; reqMine = 0; reqLeft = 0; reqCut = 0 :: else fi;
	if :: c[0].write == SealFor -> c[0].write = 0 :: else fi;
	if :: c[1].write == SealFor -> c[1].write = 0 :: else fi
}
inline seal(m) { holder = Sealed; mark = mark || m; mine = 0; wroteLease() }

active proctype witness() {
	do
	:: d_step { moved && hears && (holder == Run || may) -> assert(false) }	/* OneHolder */
	od
}

active proctype people() {
	do
	:: d_step { holder != Absent -> printf("the survivor's lease is deleted by hand\n");
		holder = Absent; mark = 0; reported = 0; mine = 0; wroteLease() }
	/* For a removal of its own that is cancelled later, for one: see fence.pml. */
	:: d_step { holder == Run -> printf("the survivor's lease is sealed for another reason\n"); seal(0) }
	/* Its own removal is Transferring: by then its Lease is sealed, and it can
	   allocate no more. It may come back as another incarnation. */
	:: d_step { !out && holder == Sealed && until == 0 -> printf("the survivor is removed itself\n");
		out = 1; taking = None; found = 0; req = None; reqMine = 0; reqFresh = 0; reqLeft = 0; reqCut = 0; known = 0 }
	:: d_step { out && mode == Serving -> printf("the survivor joins anew\n"); out = 0; cut = 0; until = 0; mine = 0 }
	od
}

active proctype time() {
	do
	:: d_step {
		until > 0 || reqLeft > 0 || (c[0].seen && c[0].watched < B) || (c[1].seen && c[1].watched < B) ->
		printf("time passes\n");
		if :: until > 0 -> until-- :: else fi;
		if :: reqLeft > 0 -> reqLeft-- :: else fi;
		if :: c[0].seen && c[0].watched < B -> c[0].watched++ :: else fi;
		if :: c[1].seen && c[1].watched < B -> c[1].watched++ :: else fi
	   }
	od
}

active proctype survivor() {
	do
	:: d_step { mode == Serving && !out -> printf("the survivor makes its lists\n");
#ifndef NO_CUT		/* it goes on hearing what is removed */
#ifndef REPORT_FIRST	/* it reports what it has yet to do */
		hears = (phase == Fencing);
#endif
#endif
		cut = (phase == Transferring);
#ifndef TAKE_WITHOUT_LISTS
		if :: taking == Reading -> taking = Ready :: else fi
#endif
	   }
#ifdef REPORT_FIRST
	:: d_step { mode == Serving && !out && hears == cut -> printf("the survivor sets its kernel\n"); hears = !cut }
#endif
	:: d_step { mode == Serving && !out && taking == None && !known -> printf("the survivor reads its lease\n"); found = holder;
#ifdef TAKE_WITHOUT_LISTS
		taking = Ready
#else
		taking = Reading
#endif
	   }
	:: d_step { mode == Serving && !out && taking == Ready && req == None -> printf("the survivor asks for its lease\n");
		taking = None; reqMine = 1; reqCut = cut;
#ifdef TAKE_ABSENT
		if :: found == Absent -> req = Place :: else -> req = Take fi; reqLeft = A;
#else
		if :: found == Absent -> req = Place; reqCut = 0 :: else -> req = Take; reqLeft = A fi;
#endif
		found = 0
	   }
	:: d_step { mode == Serving && !out && known && req == None -> printf("the survivor sends a renewal\n");
		req = Renew; reqMine = 1; reqLeft = A; reqCut = cut }
	:: d_step {
#ifdef TAKE_ABSENT
		((req == Take || req == Renew) && holder != Absent) || (req == Place && holder == Absent) ->
#else
		(req == Take || req == Renew) && holder != Absent ->
#endif
		printf("it lands\n");
		req = None; holder = Run; mine = reqMine; mark = 0; reported = reqCut; wroteLease();
		if :: reqMine -> req = Answer; reqFresh = 1 :: else -> reqLeft = 0 fi;
		reqMine = 0; reqCut = 0
	   }
#ifndef TAKE_ABSENT
	:: d_step { req == Place -> printf("it lands\n"); req = None; reqMine = 0;
		if :: holder == Absent -> holder = Sealed; mark = 0; reported = 0; mine = 0; wroteLease() :: else fi }
#endif
	:: d_step { req == Answer -> printf("the answer arrives\n"); req = None; known = reqFresh; reqFresh = 0;
		until = (until > reqLeft -> until : reqLeft); reqLeft = 0 }
	:: d_step { req != None -> printf("what is on its way is lost\n"); req = None; reqMine = 0; reqFresh = 0; reqLeft = 0; reqCut = 0 }
	:: d_step { mode == Serving && !out && !known && holder == Run && mine -> printf("the survivor reads that it holds its lease\n"); known = 1 }
	:: d_step { mode == Serving -> printf("the survivor's agent dies\n");
		mode = Down; until = 0; taking = None; found = 0; known = 0; reqMine = 0; mine = 0; cut = 0;
		if :: req == Answer -> req = None; reqFresh = 0; reqLeft = 0 :: else fi }
	:: d_step { mode == Down -> printf("the survivor's agent starts\n"); mode = Serving }
	od
}

inline decide(k) {
	if
	:: !c[k].phaseT -> c[k].write = ToTransferring
#ifdef NO_BARRIER
	:: c[k].phaseT -> c[k].write = Move
#else
#ifdef ANY_SEALED	/* any seal exempts */
	:: c[k].phaseT && holder == Sealed -> c[k].write = Move
#else
	:: c[k].phaseT && holder == Sealed && (mark || c[k].out || reported) -> c[k].write = Move
#endif
	:: c[k].phaseT && holder == Run && reported -> c[k].write = Move
#ifdef ABSENT_PASSES	/* who has no Lease is not waited for */
	:: c[k].phaseT && holder == Absent -> c[k].write = Move
#else
	:: c[k].phaseT && holder == Absent -> c[k].write = Create
#endif
#ifdef NO_WATCH
	:: c[k].phaseT && ((holder == Run && !reported) || (holder == Sealed && !(mark || c[k].out || reported))) -> c[k].write = SealFor
#else
	:: c[k].phaseT && c[k].watched >= B && ((holder == Run && !reported) || (holder == Sealed && !(mark || c[k].out || reported))) -> c[k].write = SealFor
#endif
#endif
	:: else
	fi
}

active [2] proctype controller() {
	byte k = _pid - 4;
	do
	:: d_step { !c[k].looking && c[k].write == 0 && !moved -> printf("controller %d lists the peers\n", k);
		c[k].looking = 1; c[k].phaseT = (phase == Transferring); c[k].out = out }
	:: d_step { c[k].looking -> printf("controller %d lists the leases\n", k);
		c[k].seen = (holder != Absent);
#ifdef BARRIER_BEFORE_TRANSFER	/* the barrier begins before Transferring is durable */
		c[k].phaseT = 1;
#endif
		decide(k); c[k].looking = 0; c[k].phaseT = 0; c[k].out = 0
	   }
	:: d_step { c[k].write != 0 -> printf("controller %d's write lands: %e\n", k, c[k].write);
		if
		:: c[k].write == ToTransferring -> phase = Transferring
		:: c[k].write == Create && holder == Absent -> holder = Sealed; mark = 0; reported = 0; mine = 0; wroteLease()
		:: c[k].write == SealFor -> c[k].write = 0; seal(1)
		:: c[k].write == Move ->
#ifdef BARRIER_BEFORE_TRANSFER
			phase = Transferring;
#endif
			moved = 1
		:: else
		fi;
		c[k].write = 0
	   }
	:: d_step { c[k].write != 0 -> printf("controller %d's write is lost\n", k); c[k].write = 0 }
	:: d_step { c[k].looking || c[k].seen -> printf("controller %d crashes\n", k);
		c[k].looking = 0; c[k].seen = 0; c[k].watched = 0; c[k].phaseT = 0; c[k].out = 0 }
	od
}
