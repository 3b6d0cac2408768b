/*
 * One saga's row, the workers that take it in turn, its mail, and all that can come between: lease, fence and mailbox.
 * README.md says what is modelled, what is not, and which statement of the store each d_step stands for.
 *
 * A d_step is one SQL statement: it happens at once or not at all. Between any two of them anything may happen, so a
 * worker that is paused is one that is not scheduled.
 *
 * Two actions, each with a compensation; with PIVOT the second is the pivot. One broken rule at a time:
 *   NO_FENCE  NO_VERSION  REVIVE  END_OVER_MAIL  PIVOT_OVER_MAIL  REST_OVER_MAIL  RELEASE_OVER_MAIL  SWEEP_LIVING
 *   SWEEP_ONCE
 */
#ifndef N
#define N 3            /* worker ids; one of them is never declared dead */
#endif
#ifndef LOST
#define LOST 1         /* answers that do not arrive; what was sent may be carried out later */
#endif
#define STEPS 2

mtype = { running, compensating, stuck, completed, rolledBack };  /* rolledBack: failed or cancelled */
mtype = { cancel, retry };
mtype = { keep, due, rest };
mtype = { committed, unreadMail, leaseLost };
mtype = { none, leaseEnded, turned, done, failed, undone, undoFailed, retried, refused };

typedef Saga {
  mtype status = running;
  byte nDone;          /* steps completed, in order */
  byte nUndone;        /* of those, from the last one backward */
  bool cause;          /* it is to turn round */
  byte uncertain       /* bit n: step n may have happened */
};

typedef Statement {
  byte worker; byte epoch; byte version; byte seen;
  mtype kind; mtype after; Saga state
};

/* --- The database -------------------------------------------------------------------------------------------- */

Saga row;
byte epoch, version, owner, mailSeq, mailSeen;
bool isDue = true;
bool isLost;           /* a lease was lost with its worker */
bool alive[N + 1];     /* the row in workers: not ended */
mtype letters[4];
mtype lastKind = none;
byte lastEpoch;

/* --- The world ----------------------------------------------------------------------------------------------- */

bool working[N + 1];   /* an attempt is under way */
bool happened[STEPS];  /* a participant does what it is asked once per idempotency key … */
bool isRejected[STEPS]; /* … or never, and answers each repetition as it did the first time */
bool isUndone[STEPS];
bool accepted;         /* a cancel was accepted */
bool isStray;          /* a statement whose sender has given it up and sent it again */
Statement stray;
byte lost, rejections, failures, pauses;  /* so often, and no more */

#define hasEnded   (row.status == completed || row.status == rolledBack)
#define atWork(w)  (working[w] && alive[w])

/** No two workers that count as alive are at work on the saga (S13, S16). */
inline oneAtWork() {
  assert(!(atWork(1) && atWork(2)));
#if N > 2
  assert(!(atWork(1) && atWork(3)) && !(atWork(2) && atWork(3)));
#endif
}

/** A row that moves is due or held, and no letter to it lies unread where nobody would look (S15, M1). */
inline nothingLost() {
  assert(hasEnded || isDue || owner != 0 || (row.status == stuck && mailSeq == mailSeen))
}

/** Completed is done, cancelled is undone, but for steps that the state calls uncertain (S9). */
inline netEffect() {
  assert(row.status != completed || (happened[0] && happened[1]));
  assert(row.status != rolledBack || !happened[0] || isUndone[0] || (row.uncertain & 1));
  assert(row.status != rolledBack || !happened[1] || isUndone[1] || (row.uncertain & 2))
}

#ifdef PIVOT
#define isPastPivot(s)     (s.nDone >= 1 && !s.cause)
#define dispatchesPivot(s) (s.kind == done && s.state.nDone == 1 && s.state.status == running && !s.state.cause)
#else
#define isPastPivot(s)     false
#define dispatchesPivot(s) false
#endif

#ifdef END_OVER_MAIL
#define endGate(s) false
#else
#define endGate(s) (s.state.status == completed || s.state.status == rolledBack)
#endif
#ifdef PIVOT_OVER_MAIL
#define isGated(s) (endGate(s))
#else
#define isGated(s) (endGate(s) || dispatchesPivot(s))
#endif

#ifdef NO_FENCE
#define isHolder(s) true
#else
#define isHolder(s) (s.epoch == epoch)
#endif
#ifdef NO_VERSION
#define isNext(s) true
#else
#define isNext(s) (s.version == version)
#endif

inline copy(to, from) {
  to.status = from.status; to.nDone = from.nDone; to.nUndone = from.nUndone;
  to.cause = from.cause; to.uncertain = from.uncertain
}

inline clear(to) {
  to.status = none; to.nDone = 0; to.nUndone = 0; to.cause = false; to.uncertain = 0
}

/** COMMIT of commits.ts. */
inline commit(s) {
  if
  :: isHolder(s) && isNext(s) && !hasEnded && (!isGated(s) || mailSeq == s.seen) ->
     assert(owner == s.worker);                                            /* one writer (S16) */
     assert(s.epoch >= lastEpoch);                                         /* no entry of an older holder */
     assert(s.version == version);                                         /* decided on what is there (S17a) */
     assert(s.state.nDone >= row.nDone && s.state.nUndone >= row.nUndone);   /* S10 */
     assert(row.status == running || row.status == stuck || s.state.nDone == row.nDone); /* never onward again */
     assert(s.seen >= mailSeen);
     assert(!(s.state.status == completed && accepted));                   /* the answer to a cancel is exact (S25) */
     version++;
     copy(row, s.state);
     isLost = false;
     mailSeen = s.seen;
     lastKind = s.kind; lastEpoch = s.epoch;
     if
     :: s.after == keep -> skip
     :: else ->
        owner = 0;
#ifdef REST_OVER_MAIL
        isDue = !hasEnded && s.after == due
#else
        isDue = !hasEnded && (mailSeq > mailSeen || s.after == due)
#endif
     fi;
     nothingLost();
     netEffect()
  :: else -> skip
  fi
}

/** Sends a commit until it is answered: an earlier try may have been carried out, or may still be under way (F30). */
inline send(s, answer) {
  if
  :: lost < LOST && !isStray ->
     d_step {
       lost++; isStray = true;
       stray.worker = s.worker; stray.epoch = s.epoch; stray.version = s.version; stray.seen = s.seen;
       stray.kind = s.kind; stray.after = s.after; copy(stray.state, s.state)
     }
  :: true
  fi;
  d_step {
    answer = leaseLost;
    if
    :: isHolder(s) && isNext(s) && !hasEnded && (!isGated(s) || mailSeq == s.seen) -> answer = committed
    :: else -> skip
    fi;
    commit(s)
  }
  if
  :: answer == committed -> skip
  :: else -> d_step {                                                      /* WHERE_NOW */
       if
       :: s.epoch == epoch && version == s.version + 1 && lastKind == s.kind && lastEpoch == s.epoch ->
          answer = committed
       :: s.epoch == epoch && version == s.version && mailSeq > s.seen -> answer = unreadMail
       :: else -> skip
       fi
     }
  fi
}

/** A statement that its sender has given up is carried out later than anyone thinks. */
active proctype Network() {
end:
  do
  :: isStray -> d_step {
       commit(stray);
       isStray = false;
       stray.worker = 0; stray.epoch = 0; stray.version = 0; stray.seen = 0; stray.kind = none; stray.after = none;
       clear(stray.state)
     }
  od
}

inline free() {
  owner = 0; epoch++; isLost = true;
  isDue = !(row.status == stuck && mailSeq == mailSeen)
}

/** SWEEP of workers.ts: again and again, so that a claim that lands late is found, too. */
active proctype Sweep() {
#if defined(SWEEP_ONCE) || defined(SWEEP_LIVING)
  bool swept;
#endif
end:
  do
#ifdef SWEEP_LIVING
  :: d_step { owner != 0 && !swept -> swept = true; free() }
#elif defined(SWEEP_ONCE)
  :: d_step { !alive[1] && !swept -> swept = true; if :: owner == 1 -> free() :: else -> skip fi }
#else
  :: d_step { owner != 0 && !alive[owner] -> free() }
#endif
  od
}

/**
 * DECLARE_DEAD of workers.ts, rightly or wrongly: a worker that has crashed is one that never goes on.
 */
active proctype Fate() {
  byte dead;
end:
  do
  :: d_step { dead == 0 && alive[1] -> alive[1] = false; dead = 1 }
#if N > 2
  :: d_step { dead == 1 && alive[2] -> alive[2] = false; dead = 2 }
#endif
#ifdef REVIVE
  :: d_step { dead == 1 && !alive[1] -> alive[1] = true; dead = 2; oneAtWork() }
#endif
  od
}

/** Mailbox.post of mailbox.ts, with its `when`. */
inline post(letter) {
  mailSeq++;
  letters[mailSeq] = letter;
  if
  :: owner == 0 -> isDue = true
  :: else -> skip
  fi
}

active proctype Caller() {
  if
  :: d_step { !hasEnded && !isPastPivot(row) -> accepted = true; post(cancel) }
  :: true
  fi
}

active proctype Operator() {
  byte verbs;
end:
  do
  :: verbs < 1 && row.status == stuck -> d_step {
       if
       :: row.status == stuck -> verbs++; post(retry)
       :: else -> skip
       fi
     }
  od
}

/* --- A worker under one id ------------------------------------------------------------------------------------ */

#define me        s.worker
#define mine      s.state
#define isMoving  (mine.status == running || mine.status == compensating)
#define step      (mine.nDone)
#define direction (mine.status == compensating)

/** The state as the claim's answer holds it. */
inline take() {
  owner = me; epoch++; isDue = false;
  s.epoch = epoch; s.version = version; s.seen = mailSeen;
  copy(mine, row);
  known = mailSeq; wasLost = isLost
}

/** `backward` of core: the next compensation, or the end. */
inline backward() {
  if
  :: mine.nDone == mine.nUndone -> mine.status = rolledBack
  :: else -> mine.status = compensating
  fi
}

/** Decided and committed. What cannot be committed over unread mail is undecided again, and the mail read first. */
inline transition() {
  if
  :: mine.status == completed || mine.status == rolledBack || mine.status == stuck -> s.after = rest
  :: isMoving && !working[me] && pauses < 1 -> pauses++; s.after = due      /* the next attempt is due a little later */
  :: isMoving -> s.after = keep
  fi;
  send(s, answer);
  if
  :: answer == committed ->
     s.version++;
     if
     :: s.after == keep -> skip
     :: else -> goto idle
     fi
  :: answer == unreadMail -> d_step { copy(mine, before); s.seen = seenBefore; known = mailSeq }
  :: answer == leaseLost -> goto idle
  fi
}

inline remember() { copy(before, mine); seenBefore = s.seen }

proctype Worker(byte id) {
  Statement s;
  Saga before;
  byte known, seenBefore;
  bool wasLost, hasEndedWell;
  mtype answer;

  me = id;
idle: true;
  d_step {                                                                 /* what it knew counts no more */
    s.kind = none; s.after = none; s.epoch = 0; s.version = 0; s.seen = 0; answer = none;
    known = 0; seenBefore = 0; wasLost = false; hasEndedWell = false; working[me] = false;
    clear(mine); clear(before)
  }
end:
  do
  :: alive[me] && isDue ->                                                 /* CLAIM: who is alive is looked at first */
     if
     :: d_step { isDue -> take() }
        if
        :: lost < LOST -> lost++; goto idle                                /* the answer is lost */
        :: true -> break
        fi
     :: else -> skip
     fi
  :: alive[me] && owner == me -> d_step {                                  /* TAKE_AGAIN */
       if
       :: owner == me -> take()
       :: else -> s.epoch = 255
       fi
     }
     if
     :: s.epoch == epoch && owner == me -> break
     :: else -> skip
     fi
  od;

  if
  :: wasLost && isMoving ->
     d_step { remember(); s.kind = leaseEnded;
       if :: mine.status == running -> mine.uncertain = mine.uncertain | (1 << step) :: else -> skip fi }
     transition()
  :: else -> skip
  fi;

held:
  if
  :: known > s.seen -> goto mail
  :: known > s.seen && pauses < 1 -> pauses++; goto letGo                  /* only a newer release can read it */
  :: else -> skip
  fi;
  if
  :: !isMoving -> goto letGo
  :: isMoving && mine.status == running && mine.cause ->                   /* nothing runs any more: round */
     d_step { remember(); s.kind = turned; backward() }
     transition();
     goto held
  :: isMoving && !(mine.status == running && mine.cause) && pauses < 1 -> pauses++; goto letGo
  :: isMoving && !(mine.status == running && mine.cause) -> skip
  fi;

  d_step { working[me] = true; oneAtWork() }
  goto attempt;

mail: true;
  d_step {
    remember();
    s.seen++;
    if
    :: letters[s.seen] == cancel && mine.status == running && !mine.cause && !isPastPivot(mine) ->
       s.kind = turned;
       mine.cause = true;
       if
       :: working[me] -> skip                                              /* it is let end (S25) */
       :: else -> backward()
       fi
    :: letters[s.seen] == retry && mine.status == stuck ->
       s.kind = retried;
       if
       :: isPastPivot(mine) -> mine.status = running
       :: else -> mine.status = compensating
       fi
    :: else -> s.kind = refused
    fi
  }
  transition();
  if
  :: working[me] -> goto attempt
  :: else -> goto held
  fi;

attempt:
  if
  :: known > s.seen -> goto mail
  :: mailSeq > s.seen && s.epoch == epoch -> known = mailSeq; goto mail    /* the heartbeat tells of it */
  :: d_step { mine.status == running && !isRejected[step] ->               /* the participant carries it out */
       happened[step] = true;
       hasEndedWell = true;
       netEffect()
     }
  :: d_step { mine.status == running && !happened[step] && (isRejected[step] || rejections < 1) ->
       if :: isRejected[step] -> skip :: else -> rejections++ fi;
       isRejected[step] = true;
       hasEndedWell = false
     }
  :: mine.status == compensating ->
     isUndone[mine.nDone - mine.nUndone - 1] = true;
     hasEndedWell = true
  :: mine.status == compensating && failures < 1 ->
     failures++;
     hasEndedWell = false
  fi;
  if
  :: known > s.seen -> goto mail
  :: else -> skip
  fi;
  d_step {
    working[me] = false;
    remember();
    if
    :: mine.status == running && !hasEndedWell && isPastPivot(mine) -> s.kind = failed; mine.status = stuck
    :: mine.status == running && !hasEndedWell && !isPastPivot(mine) ->
       s.kind = failed;
       mine.cause = true;
       backward()
    :: mine.status == running && hasEndedWell ->
       s.kind = done;
       mine.uncertain = mine.uncertain & ~(1 << step);
       mine.nDone++;
       if
       :: mine.cause -> backward()
       :: !mine.cause && mine.nDone == STEPS -> mine.status = completed
       :: else -> skip
       fi
    :: mine.status == compensating && hasEndedWell -> s.kind = undone; mine.nUndone++; backward()
    :: mine.status == compensating && !hasEndedWell -> s.kind = undoFailed; mine.status = stuck
    fi
  }
  transition();
  if
  :: answer == unreadMail -> working[me] = true; goto attempt              /* what has ended is decided anew */
  :: else -> goto held
  fi;

letGo: true;
  d_step {                                                                 /* RELEASE */
    if
    :: isHolder(s) && owner == me && !hasEnded ->
       owner = 0; epoch++;
#ifdef RELEASE_OVER_MAIL
       isDue = row.status != stuck;
#else
       isDue = row.status != stuck || mailSeq > mailSeen;
#endif
       nothingLost()
    :: else -> skip
    fi
  }
  goto idle
}

init {
  atomic {
    byte w;
    for (w : 1 .. N) { alive[w] = true; run Worker(w) }
  }
  timeout;                                                                 /* nothing is left to do for anyone */
  assert(hasEnded || row.status == stuck);
  assert(hasEnded || mailSeen == mailSeq);
  assert(!accepted || row.status == rolledBack || row.status == stuck)
}
