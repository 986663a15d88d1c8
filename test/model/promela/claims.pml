/* Copyright The Selvage Authors.
   SPDX-License-Identifier: Apache-2.0

   Disjoint, NoLoss: controllers claim, verify and grant, in a pool of two
   blocks. The range that is named after block 0 may have both or that alone,
   so that claims overlap under one name and under two. Owners lose what they
   have, and it is deleted. Nothing is bounded but that each controller has at
   most one request about each range on its way. */

#ifndef CONTROLLERS
#define CONTROLLERS 2
#endif

#define Gone 0
mtype = { Claim, Owned, Unowned };	/* a range that is there: Unowned was owned before */
mtype = { Create, CreateBoth, Grant, Delete };

typedef Range { mtype is; bit both }	/* both: it has block 1, too */
Range r[2];

typedef Controller {
	mtype write[2];	/* by range: the request on its way */
	bit alone[2]	/* EARLY_LIST: as it last looked, nothing was in the way */
}
Controller c[CONTROLLERS];

#define there(n) (r[n].is != Gone)
#define overlap (there(0) && there(1) && r[0].both)
#define otherOwned(n) (overlap && r[1 - n].is == Owned)

/* Whatever rests on what this range was is refused, and so as good as lost. */
inline wrote(n) {
	byte i;
	for (i : 0 .. CONTROLLERS - 1) {
		if
#ifndef GRANT_WITHOUT_CAS	/* a grant counts whatever the range has become */
		:: c[i].write[n] == Grant -> c[i].write[n] = 0
#endif
#ifndef DELETE_WITHOUT_CAS	/* a range is deleted by name */
		:: c[i].write[n] == Delete -> c[i].write[n] = 0
#endif
		:: else
		fi
	}
	i = 0
}

inline land(n) {
	if
	:: c[k].write[n] == Create || c[k].write[n] == CreateBoth ->
		if
		:: !there(n) -> r[n].both = (c[k].write[n] == CreateBoth); wrote(n);
#ifdef GRANT_AT_ONCE	/* a range is made with an owner */
			r[n].is = Owned; assert(!otherOwned(n));
#else
			r[n].is = Claim;
#endif
#ifdef EARLY_LIST	/* what verifies it began before the claim was there */
			c[k].write[n] = (c[k].alone[n] -> Grant : 0)
#else
			c[k].write[n] = 0
#endif
		:: else -> c[k].write[n] = 0	/* the name is taken */
		fi
	:: c[k].write[n] == Grant ->
		if
		:: r[n].is == Claim ->
			assert(!otherOwned(n));		/* Disjoint */
			r[n].is = Owned; wrote(n)
		:: else
		fi;
		c[k].write[n] = 0
	:: c[k].write[n] == Delete ->
		if
		:: there(n) ->
			assert(r[n].is != Owned);	/* NoLoss */
			r[n].is = Gone; r[n].both = 0; wrote(n)
		:: else
		fi;
		c[k].write[n] = 0
	fi
}

inline decide(n) {
	if
	:: c[k].write[n] != 0
#ifdef NO_VERIFY		/* what overlaps is granted all the same */
	:: c[k].write[n] == 0 && r[n].is == Claim -> c[k].write[n] = Grant
#else
#ifdef OWNED_VERIFY	/* only what is owned is in the way, not what is claimed */
	:: c[k].write[n] == 0 && r[n].is == Claim && !otherOwned(n) -> c[k].write[n] = Grant
	:: c[k].write[n] == 0 && r[n].is == Claim && otherOwned(n) -> c[k].write[n] = Delete
#else
	:: c[k].write[n] == 0 && r[n].is == Claim && !overlap -> c[k].write[n] = Grant
	:: c[k].write[n] == 0 && r[n].is == Claim && overlap -> c[k].write[n] = Delete
#endif
#endif
	:: c[k].write[n] == 0 && r[n].is == Unowned -> c[k].write[n] = Delete
	:: else
	fi;
#ifdef EARLY_LIST
	c[k].alone[n] = !there(1 - n)
#endif
}

active [CONTROLLERS] proctype controller() {
	byte k = _pid;
	do
	/* It claims, whatever it believes to be free. */
	:: d_step { c[k].write[0] == 0 -> printf("controller %d claims block 0\n", k); c[k].write[0] = Create }
	:: d_step { c[k].write[0] == 0 -> printf("controller %d claims both blocks\n", k); c[k].write[0] = CreateBoth }
	:: d_step { c[k].write[1] == 0 -> printf("controller %d claims block 1\n", k); c[k].write[1] = Create }
	/* It makes one LIST, and decides about both. */
	:: d_step { printf("controller %d lists and decides\n", k); decide(0); decide(1) }
	/* It gives a claim up that has been there for long. */
	:: d_step { c[k].write[0] == 0 && r[0].is == Claim -> printf("controller %d sweeps range 0\n", k); c[k].write[0] = Delete }
	:: d_step { c[k].write[1] == 0 && r[1].is == Claim -> printf("controller %d sweeps range 1\n", k); c[k].write[1] = Delete }
	:: d_step { c[k].write[0] != 0 -> printf("controller %d's request about range 0 lands: %e\n", k, c[k].write[0]); land(0) }
	:: d_step { c[k].write[1] != 0 -> printf("controller %d's request about range 1 lands: %e\n", k, c[k].write[1]); land(1) }
	:: d_step { c[k].write[0] != 0 -> printf("controller %d's request about range 0 is lost\n", k); c[k].write[0] = 0 }
	:: d_step { c[k].write[1] != 0 -> printf("controller %d's request about range 1 is lost\n", k); c[k].write[1] = 0 }
	od
}

/* An owner gives back, or is removed without an heir. */
active proctype owners() {
	do
	:: d_step { r[0].is == Owned -> printf("range 0 loses its owner\n"); r[0].is = Unowned; wrote(0) }
	:: d_step { r[1].is == Owned -> printf("range 1 loses its owner\n"); r[1].is = Unowned; wrote(1) }
	od
}
