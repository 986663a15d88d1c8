/* Copyright The Selvage Authors.
   SPDX-License-Identifier: Apache-2.0

   Fenced, NoLoss: a range is asked back of a live peer, which stops allocating
   in it, waits until it is idle and seals it; then it is taken, deleted or
   granted anew, to the same peer or another. Two controllers, one of which may
   be stale, ask, withdraw, take and grant; the agent's view is late, and old
   news may come after new. "Of this epoch" is a flag that each change of owner
   clears. */

mtype = { Ours, Theirs, Nobodys };	/* whose the range is: the agent's, another's */
mtype = { Ask, Withdraw, TakeBack, GrantOurs, GrantTheirs };

/* The API server. */
mtype owner = Ours;
bit asked, sealed;
#ifdef ANY_EPOCH
bit sealedOld;			/* a seal of an older epoch */
#define promised(k) (sealed || sealedOld)
#else
#define promised(k) sealed
#endif

/* The agent. */
bit holds = 1;			/* it believes that the range is its own, */
bit current = 1;		/* in the epoch that it has */
bit stop;			/* it has heard that it is asked back */
bit promise;			/* it has sealed it in the epoch that it knows */
bit pods;
bit seal, sealFresh;		/* its seal on its way; it names this epoch */
bit news, newsOurs, newsAsked, newsCurrent;	/* a view of the range, on its way */
bit newer, older;		/* its epoch is, than the one that the agent knows */

mtype write[2];

inline stale(k) { if :: write[k] != 0 -> write[k] = 0 :: else fi }
inline wrote() { stale(0); stale(1) }
inline changed(to) {
	owner = to; asked = 0; current = 0; newsCurrent = 0; sealFresh = 0;
#ifdef ANY_EPOCH
	sealedOld = sealedOld || sealed;
#endif
	sealed = 0; wrote()
}
#define may (holds && !stop && !promise)

active proctype agent() {
	do
	/* A look is made now, and taken in later; a new one may overtake it. */
	:: d_step { !news -> printf("the agent looks\n"); news = 1; newsOurs = (owner == Ours); newsAsked = asked; newsCurrent = 1; newer = !current }
	:: d_step { news -> printf("the agent hears of it\n");
#ifndef OLD_NEWS	/* what is older than what it knows counts, too */
		if
		:: older	/* a lower epoch than it has seen */
		:: else ->
#endif
			if :: newer -> promise = 0 :: else fi;
			current = newsCurrent;
			holds = newsOurs; stop = newsAsked;
#ifdef UNSEAL		/* what is no longer asked back is no longer promised */
			if :: !newsAsked -> promise = 0 :: else fi;
#endif
#ifndef OLD_NEWS
		fi;
#endif
		news = 0; newsOurs = 0; newsAsked = 0; newsCurrent = 0; newer = 0; older = 0
	   }
	:: d_step { printf("the agent makes a consistent list\n");
		if :: !current -> promise = 0 :: else fi;
		older = news && (older || !newsCurrent); newer = 0;
		current = 1; holds = (owner == Ours); stop = asked }
	:: d_step { may -> printf("the agent gives out an address\n");
		assert(owner == Ours && !sealed);	/* Fenced */
		pods = 1 }
	:: d_step { pods -> printf("the pods go\n"); pods = 0 }
#ifdef SEAL_IN_USE	/* it seals though pods have addresses there */
	:: d_step { holds && stop && !seal -> printf("the agent seals\n"); promise = 1; seal = 1; sealFresh = current }
#else
#ifdef SEAL_AND_SERVE	/* it seals, and goes on */
	:: d_step { holds && stop && !pods && !seal -> printf("the agent seals\n"); stop = 0; seal = 1; sealFresh = current }
#else
	:: d_step { holds && stop && !pods && !seal -> printf("the agent seals\n"); promise = 1; seal = 1; sealFresh = current }
#endif
#endif
	:: d_step { seal -> printf("the seal lands\n"); seal = 0;
		if :: sealFresh -> sealed = 1; wrote() :: else fi;
#ifdef ANY_EPOCH
		sealedOld = sealedOld || !sealFresh;
#endif
		sealFresh = 0 }
	:: d_step { seal -> printf("the seal is lost\n"); seal = 0; sealFresh = 0 }
	od
}

active [2] proctype controller() {
	byte k = _pid - 1;
	do
	:: d_step { write[k] == 0 && owner == Ours && !asked && !sealed -> printf("controller %d will ask\n", k); write[k] = Ask }
	:: d_step { write[k] == 0 && owner == Ours && asked && !sealed -> printf("controller %d will ask no more\n", k); write[k] = Withdraw }
#ifdef NO_SEAL		/* asking is enough */
	:: d_step { write[k] == 0 && owner == Ours && asked -> printf("controller %d will take it\n", k); write[k] = TakeBack }
#else
	:: d_step { write[k] == 0 && owner == Ours && promised(k) -> printf("controller %d will take it\n", k); write[k] = TakeBack }
#endif
	:: d_step { write[k] == 0 && owner == Nobodys -> printf("controller %d will grant it anew\n", k); write[k] = GrantOurs }
	:: d_step { write[k] == 0 && owner == Nobodys -> printf("controller %d will grant it to another\n", k); write[k] = GrantTheirs }
	:: d_step { write[k] != 0 -> printf("controller %d's write lands: %e\n", k, write[k]);
		if
		:: write[k] == Ask -> asked = 1; wrote()
		:: write[k] == Withdraw -> asked = 0; wrote()
		:: write[k] == TakeBack ->
			assert(!pods && !may);	/* Fenced */
			changed(Nobodys)
		:: write[k] == GrantOurs -> changed(Ours)
		:: write[k] == GrantTheirs -> changed(Theirs)
		fi
	   }
	:: d_step { write[k] != 0 -> printf("controller %d's write is lost\n", k); write[k] = 0 }
	od
}

active proctype other() {
	do
	:: d_step { owner == Theirs -> printf("the other is removed\n"); changed(Nobodys) }
	od
}
