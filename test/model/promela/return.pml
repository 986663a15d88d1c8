/* Copyright The Selvage Authors.
   SPDX-License-Identifier: Apache-2.0

   Starting an agent: a machine's agent dies between any two of its steps and
   starts again, with what its disk and the API say, while its peer is removed,
   cancelled, finished and deleted, its Node is registered anew, its disk is
   put into another machine, another machine joins by its name, and etcd is
   restored once from a backup made while its peer was a member.

   An incarnation is the one that the disk speaks of, or another. That a peer
   that is out can allocate no more is fence.pml's. Here it is which one a
   machine takes itself for, and what its pods are then. */

#define None 0
mtype = { Active, Fencing, Gone };				/* the Peer: Gone is Transferring and Removed */
mtype = { Down, Looking, Resumed, Suspended, Fenced, Scratch, Minted, Regressed, Contending, Out };

/* The API server. */
mtype peer = None;
bit mine;		/* the Peer has the instanceID that is on the disk */
bit known;		/* it is the incarnation that the disk says it joined */
bit acked;		/* its agent has acknowledged this generation of its removal */
bit declared;
bit newNode;		/* the Node has another uid than the disk's */

/* The disk. */
bit joined, ackOnDisk, fenced;
bit clone;		/* it is in another machine than the one that wrote it */

/* The machine. */
mtype mode = Down;
bit pods;		/* pods hold addresses, and can be heard */
bit moved;		/* their space is another's by now */
bit create, createMine;	/* a create on its way, with the instanceID on the disk */
bit ack;		/* an acknowledgement on its way, of this generation */

/* What has happened, for judging. */
bit gaveUp;		/* as the incarnation on the disk, the agent has known itself removed */
bit backup, restored, lost;	/* lost: the Peer is gone, though not by a removal */

inline newGeneration() { acked = 0; ack = 0 }
inline gone() { peer = None; mine = 0; known = 0; newGeneration() }

active proctype people() {
	do
	:: d_step { (peer == Active) && !declared -> printf("a removal is declared, and accepted\n"); declared = 1; peer = Fencing; newGeneration() }
	:: d_step { peer == None && !declared -> printf("a removal is declared\n"); declared = 1 }
	:: d_step { peer == Fencing && !newNode -> printf("the removal is cancelled\n"); declared = 0; peer = Active; newGeneration() }
	:: d_step { peer == Fencing -> printf("Transferring: the ranges move\n"); peer = Gone;
		if :: known && pods -> moved = 1 :: else fi }
	:: d_step { peer == Active && newNode -> printf("its Node is gone: the peer is removed\n"); peer = Fencing; newGeneration() }
	:: d_step { peer == Gone && (acked || newNode || !mine) -> printf("the removed peer is deleted\n"); gone() }
	:: d_step { peer != Fencing && declared && peer != Active -> printf("the removal is deleted\n"); declared = 0 }
	:: d_step { joined && !newNode -> printf("the Node is deleted and registered anew\n"); newNode = 1 }
	:: d_step { peer == None -> printf("another machine joins by that name\n"); peer = Active; mine = 0; known = 0 }
	:: d_step { peer != None && !mine -> printf("the other machine's peer is removed and deleted\n"); gone(); declared = 0 }
	:: d_step { mode == Down && joined && !clone -> printf("the disk is put into another machine\n"); clone = 1; pods = 0; moved = 0 }
	:: d_step { peer == Active && known && !backup && !restored -> printf("a backup is made\n"); backup = 1 }
	:: d_step { backup -> printf("etcd is restored\n"); backup = 0; restored = 1; declared = 0;
		peer = Active; mine = 1; known = 1; newGeneration();
		/* Here the claim ends: what an agent has not seen before that it cannot know. */
		if :: !gaveUp -> moved = 0 :: else fi }
	:: d_step { peer == Active && mine -> printf("the peer's finalizer is stripped by hand\n"); lost = 1; gone() }
	od
}

/* It serves: it takes its Lease, and gives out addresses. */
inline serve() {
	assert(mine && !clone);			/* OneHolder: no two machines are one incarnation */
	assert(!(pods && moved));		/* OneHolder: what it still runs is its own */
	assert(!(gaveUp && known));		/* Fenced: what it gave up it does not take again */
	pods = 1
}

inline mint() { mine = 0; known = 0; createMine = 0; joined = 0; ackOnDisk = 0; fenced = 0; newNode = 0; clone = 0; backup = 0; gaveUp = 0; restored = 0; lost = 0 }

/* The rows of the table, on one consistent view and the disk. */
inline look() {
	if
	:: peer == None ->
		if
		:: declared -> mode = Out
		:: !declared && (!joined || fenced || ackOnDisk) -> mode = Scratch
#ifndef NO_NODE_ROW	/* that the Node was registered anew says nothing */
		:: !declared && joined && !fenced && !ackOnDisk && newNode -> mode = Scratch
		:: !declared && joined && !fenced && !ackOnDisk && !newNode -> mode = Regressed
#else
		:: !declared && joined && !fenced && !ackOnDisk -> mode = Regressed
#endif
		fi;
		/* Progress: only a Peer that was lost, or never came back, is waited for. */
		assert(mode != Regressed || restored || lost || clone);
		/* Nothing that is still a member's is cut off. */
		assert(!(mode == Scratch && pods && !moved && (lost || restored) && !newNode && !gaveUp))
#ifdef BY_NAME		/* who has the name is it */
	:: peer != None && false -> skip
#else
	:: peer != None && !mine -> mode = Contending
#endif
#ifdef BY_NAME
	:: peer == Gone || (peer != None && fenced && known) -> mode = Fenced
#else
	:: mine && (peer == Gone || (peer != None && fenced && known)) -> mode = Fenced
#endif
#ifdef NO_FINGERPRINT	/* whatever machine the disk is in */
	:: mine && !(peer == Gone || (fenced && known)) && peer == Fencing -> mode = Suspended
	:: mine && !(peer == Gone || (fenced && known)) && peer == Active -> mode = Resumed
#else
	:: mine && !(peer == Gone || (fenced && known)) && clone -> mode = Contending
	:: mine && !(peer == Gone || (fenced && known)) && !clone && peer == Fencing -> mode = Suspended
#ifdef BY_NAME
	:: !(peer == Gone || (fenced && known)) && !(mine && clone) && peer == Active -> mode = Resumed
#else
	:: mine && !(peer == Gone || (fenced && known)) && !clone && peer == Active -> mode = Resumed
#endif
#endif
#ifdef BY_NAME
	:: !mine && peer == Fencing && !(fenced && known) -> mode = Suspended
#endif
	fi
}

inline act() {
	if
	/* It joined: the disk says so before it serves. That the removal was
	   acknowledged is taken back, if it was cancelled. */
	:: mode == Resumed ->
		if :: !known -> gaveUp = 0; fenced = 0; lost = 0; restored = 0; backup = 0 :: else fi;
#ifndef KEEP_ACK	/* what was acknowledged stays on the disk */
		ackOnDisk = 0;
#endif
		joined = 1; known = 1; serve()
	/* No pod is left; the disk says so before the API does. */
	:: mode == Suspended && !joined -> joined = 1; known = 1
	:: mode == Suspended && joined -> pods = 0; moved = 0;
#ifdef ACK_FIRST	/* the API is told before the disk */
		if :: !ack && !acked -> ack = 1 :: else -> ackOnDisk = 1 fi
#else
		if :: !ackOnDisk -> ackOnDisk = 1 :: else -> ack = !acked fi
#endif
	:: mode == Fenced -> pods = 0; moved = 0; gaveUp = 1;
#ifdef NO_FENCED_MARK	/* the disk does not say so */
		ackOnDisk = 1; ack = !acked
#else
		if :: !fenced -> fenced = 1; joined = 1; known = 1 :: else -> ack = !acked fi
#endif
	/* From scratch: leftovers are cut off, a new instance is minted, then the
	   Peer is made. One that was minted and never joined is used again. */
	:: mode == Scratch && !create ->
#ifndef NO_CUT		/* what is left of another incarnation runs on */
		pods = 0; moved = 0;
#endif
		create = 1;
#ifdef MINT_LATER	/* the API knows the instance before the disk does */
		createMine = 0; mode = Minted
#else
		if :: joined -> mint() :: else fi;
		createMine = 1
#endif
	/* Another has the name: what this disk remembers is given up. */
	:: mode == Contending && clone -> mint()
	:: else
	fi
}

active proctype agent() {
	do
	:: d_step { mode == Down -> printf("the agent starts\n"); mode = Looking }
	/* It looks and does one thing. To die in between is to die before. */
	:: d_step { mode != Down && mode != Minted -> look(); printf("the agent looks: %e\n", mode); act() }
#ifdef MINT_LATER
	:: d_step { mode == Minted -> printf("the agent mints\n"); mint(); createMine = create; mode = Looking;
		if :: !create && peer == Active -> mine = 1 :: else fi }
#endif
	:: d_step { create -> printf("the create lands\n"); create = 0;
		if :: peer == None -> peer = Active; mine = createMine; known = 0; newGeneration() :: else fi; createMine = 0 }
	:: d_step { create -> printf("the create is lost\n"); create = 0; createMine = 0 }
	:: d_step { ack -> printf("the acknowledgement lands\n"); ack = 0; acked = 1 }
	:: d_step { ack -> printf("the acknowledgement is lost\n"); ack = 0 }
	:: d_step { mode != Down -> printf("the agent dies\n"); mode = Down }
	:: d_step { mode == Down && pods -> printf("the machine is switched off\n"); pods = 0; moved = 0 }
	od
}
