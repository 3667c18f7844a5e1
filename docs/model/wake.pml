/* wake: writers notify only while the relay sleeps, and no wake-up is lost.
 *
 * Code: trigger wake in sql/migrations/001_outbox.sql (writers), sql/queries/sleep.sql and awake.sql, Session.Sleep, Wait and
 * Awake in internal/table/session.go, source.run and source.rest in relay/source.go. A sleeping relay does not poll: only a
 * notification ends its wait. K is the advisory lock hashtextextended('outbox.wake', 0).
 */
#define WRITERS 2
#define TXS     2                /* transactions of each writer, of one or more statements */

bool  exclusive;                 /* the relay's session holds K exclusively */
byte  shared;                    /* transactions that hold K shared */
byte  rows;                      /* committed, visible, and not planned */
byte  inflight;                  /* transactions that inserted and have not ended completely */
bool  listening, inbox;          /* LISTEN is in force; a notification is in the session's socket */
bool  waiting;                   /* the relay is in Session.Wait and does not poll */
bool  slept[WRITERS];            /* the relay has held K since this transaction began */
byte  losses = 1;                /* how often the session may be lost */

#define quiet    (inflight == 0)
#define stranded (rows > 0 && quiet && waiting && !inbox)
#define unseen   (rows > 0)
ltl no_lost_wakeup { [] !stranded }
ltl wakes          { [] (unseen -> <> !unseen) }    /* under weak fairness */

proctype Writer(byte me) {
    byte txs = TXS;
    bool holds, notify;
    do
    :: txs > 0 ->
        txs--;
statement:
        atomic {                 /* INSERT INTO outbox.event; the WHEN clause of the trigger is part of the statement */
            if
            :: !holds && !notify -> inflight++; slept[me] = exclusive
            :: else
            fi;
            if
#ifdef MUTATE_ALWAYS_NOTIFY      /* no WHEN clause */
            :: notify = true
#else
            :: exclusive && !holds -> notify = true                  /* pg_try_advisory_xact_lock_shared returned false */
            :: !exclusive && !holds -> holds = true; shared++        /* it returned true; held until the transaction ends */
            :: holds                                                 /* a second lock of the same transaction counts as one */
#endif
            fi
        }
        if
        :: skip
        :: goto statement        /* another statement of the same transaction */
        fi;
#ifdef MUTATE_UNLOCK_FIRST       /* a lock that ends before the commit is visible */
        atomic { if :: holds -> holds = false; shared-- :: else fi }
#endif
        if
        :: rows++;               /* COMMIT: visible to new snapshots (ProcArrayEndTransaction) ... */
           atomic { if :: holds -> holds = false; shared-- :: else fi }   /* ... then locks end ... */
           atomic {              /* ... then listeners are notified (AtCommit_Notify) */
               if
               :: notify ->
                   assert(slept[me]);                                /* no_notify_while_awake */
                   if :: listening -> inbox = true :: else fi
               :: else
               fi;
               notify = false; inflight--
           }
        :: atomic {              /* ROLLBACK */
               if :: holds -> holds = false; shared-- :: else fi;
               notify = false; inflight--
           }
        fi
    :: else -> break
    od
}

proctype Relay() {
    bool found, asleep;
    byte i;
open:
    listening = true;            /* Session.prepare: LISTEN before the first poll */
end: do
    :: losses > 0 -> goto lost
    :: atomic { found = rows > 0; rows = 0 }                         /* Session.Plan, one snapshot */
       if
       :: found -> atomic { exclusive = false; asleep = false }      /* pass the batch on, then Session.Awake */
       :: !found && asleep ->    /* Session.Wait, asleep; a poll follows while K is still held */
wait:      atomic { waiting = true }
           if
           :: atomic { inbox -> inbox = false; waiting = false }
           :: atomic { losses > 0 -> waiting = false; goto lost }
           fi
       :: !found && !asleep ->
           if
           :: inbox = false      /* Session.Wait, awake: a short pause, which may read a notification */
           :: atomic {           /* Session.Sleep: pg_try_advisory_lock */
#ifdef MUTATE_SLEEP_WITHOUT_LOCK
                  asleep = true
#else
                  if
                  :: shared == 0 -> exclusive = true; asleep = true; i = 0;
                      do :: i < WRITERS -> slept[i] = true; i++ :: else -> break od; i = 0
                  :: else        /* a writer that skipped its NOTIFY is in flight: keep polling */
                  fi
#endif
              }
#ifdef MUTATE_NO_LAST_POLL
              if :: asleep -> goto wait :: else fi
#endif
           fi
       fi
    od;
lost:                            /* the session ends, with its lock and its unread notifications; the next one starts */
    atomic { losses--; exclusive = false; asleep = false; found = false; inbox = false; listening = false; goto open }
}

init {
    atomic {
        byte w = 0;
        run Relay();
        do :: w < WRITERS -> run Writer(w); w++ :: else -> break od
    }
}
