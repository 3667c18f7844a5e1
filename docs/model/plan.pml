/* plan: which events are next, decided once, in the database.
 *
 * Code: sql/queries/plan.sql, and outbox.event in sql/migrations/001_outbox.sql (xid comes before id, CACHE 1). The names are
 * those of plan.sql. Sets of ids and of transactions are bit masks; numbers start at 1.
 */
#define WRITERS 3                /* one inserts two rows, two insert one row each, of the same key */
#define ROWS    4
#ifndef LIMIT
#define LIMIT   2                /* $1; payload (the limit $2) may cut a batch to any smaller number of rows */
#endif
#ifndef KEYED
#define KEYED   true
#endif
#define bit(n)  (1 << (n))
typedef Snapshot { byte xmax, xip }                       /* pg_snapshot */
typedef Batch {                                           /* outbox.batch, the columns of the cursor */
    byte last_position, head, xid, late_until, late_after; /* late_after is 0 if late_from is null */
    Snapshot snapshot, late_from
}

/* Only writers' xids are counted. A transaction without events (also the planner's own) has an xid between theirs, and when it
 * completes it only raises "completed". */
byte  next_xid = 1, completed;                            /* the latest COMPLETED xid: snapshots contain no later one */
byte  running;                                            /* writers' transactions with an xid */
byte  next_id = 1, owner[ROWS + 1];                       /* the sequence, and xid of each row */
byte  keyed, committed;                                   /* rows of the shared key; rows that a new snapshot sees */
bool  row_lock;                                           /* of the key's row in the application's table */
byte  ended;
Batch last;                                               /* the last row of outbox.batch */
byte  position[ROWS + 1], n_planned;                      /* the contents of outbox.batch */

#define visible(x, s)  ((x) < s.xmax && !(s.xip & bit(x)))   /* pg_visible_in_snapshot */
#define complete(x)    completed = (x > completed -> x : completed)

proctype Writer(byte n; bool key) {
    byte x, mine;
#ifndef MUTATE_ID_BEFORE_XID
    atomic { x = next_xid; next_xid++; running = running | bit(x) }   /* the first default, or an earlier UPDATE */
#endif
    if :: key -> atomic { !row_lock -> row_lock = true }              /* the change that the event describes */
       :: else
    fi;
    do
    :: n > 0 ->
       d_step {                                                       /* the second default: nextval */
           mine = mine | bit(next_id); owner[next_id] = x; n--;
           if :: key -> keyed = keyed | bit(next_id) :: else fi;
           next_id++
       }
    :: else -> break
    od;
#ifdef MUTATE_ID_BEFORE_XID
    atomic { x = next_xid; next_xid++; running = running | bit(x) }
    d_step { n = 1; do :: n <= ROWS -> if :: mine & bit(n) -> owner[n] = x :: else fi; n++ :: else -> break od; n = 0 }
#endif
    atomic {
        if :: committed = committed | mine                            /* COMMIT */
           :: skip                                                    /* ROLLBACK */
        fi;
        running = running & ~bit(x); complete(x);
        if :: key -> row_lock = false :: else fi;
        ended++; mine = 0; x = 0
    }
}

hidden byte i, k, n_late, n_next;                              /* used within one step, not part of the state */
hidden byte late, fresh;
hidden Snapshot base, sees, current;
hidden byte until;
hidden byte is_late, more;

#define forget c.last_position = 0; c.head = 0; c.xid = 0; c.late_after = 0; c.late_until = 0; c.snapshot.xmax = 0; \
               c.snapshot.xip = 0; c.late_from.xmax = 0; c.late_from.xip = 0; was = 0; next = 0

proctype Planner() {
    Batch c;                                                          /* the batch that it will insert */
    byte was, fits, next;                                             /* the last_position that it read; how many rows $2 allows; the CTE next */
end: do
    :: atomic {
        do :: completed + 1 < next_xid -> completed++ :: break od;    /* other transactions completed */
        fits = LIMIT;
        do :: fits > 1 -> fits-- :: break od; skip;                   /* rows that $2 allows */
        d_step {                                                      /* the statement: one snapshot */
            current.xmax = completed + 1; current.xip = running & (bit(current.xmax) - 1);
            if /* CTE cursor */
            :: last.late_after ->
#ifdef MUTATE_PAGING_MOVES       /* every page uses its own snapshot */
               sees.xmax = current.xmax; sees.xip = current.xip;
#else
               sees.xmax = last.snapshot.xmax; sees.xip = last.snapshot.xip;
#endif
               base.xmax = last.late_from.xmax; base.xip = last.late_from.xip; until = last.late_until
            :: else ->
               base.xmax = last.snapshot.xmax; base.xip = last.snapshot.xip; until = last.xid;
               sees.xmax = current.xmax; sees.xip = current.xip
            fi;
            late = 0; fresh = 0; n_late = 0; i = 1;
            do /* CTEs late and fresh as masks without limits; next applies the limits */
            :: i < next_id ->
               if
               :: !(committed & bit(i))                               /* invisible to the statement */
               :: (committed & bit(i)) && i > last.head -> fresh = fresh | bit(i)
               :: else ->
                  is_late = (base.xip & bit(owner[i])) && visible(owner[i], sees);
#ifndef MUTATE_XIP_ONLY
                  is_late = is_late || (owner[i] >= base.xmax && owner[i] < until && visible(owner[i], sees));
#endif
                  if :: is_late && i > last.late_after -> late = late | bit(i); n_late++ :: else fi
               fi; i++
            :: else -> break
            od;
            if :: last.late_after || n_late > LIMIT -> fresh = 0 :: else fi;
            next = 0; n_next = 0; k = 0; i = 1; more = n_late > 0;
            c.last_position = last.last_position; c.head = last.head; c.late_after = 0;
            do /* CTEs candidate, next, chosen: the first rows by id */
            :: i < next_id && n_next < fits ->
               if :: (late | fresh) & bit(i) ->
                     next = next | bit(i); n_next++; c.last_position++; k = i;
                     if :: late & bit(i) -> n_late-- :: else fi
                  :: else
               fi; i++
            :: else -> break
            od;
            more = n_late > 0; was = last.last_position; fits = 0;
            if :: k > c.head -> c.head = k :: else fi;                /* greatest(n.last, c.head) */
            c.snapshot.xmax = sees.xmax; c.snapshot.xip = sees.xip;   /* snapshot_next */
            c.xid = next_xid; c.late_from.xmax = 0; c.late_from.xip = 0; c.late_until = 0;
            if :: more -> c.late_from.xmax = base.xmax; c.late_from.xip = base.xip; c.late_until = until; c.late_after = k
               :: else
            fi;
            if :: next == 0 -> forget :: else fi
        }
        if
        :: next == 0 && ended == WRITERS ->                           /* quiescence */
            d_step {
                i = 1;
                do :: i < next_id -> assert(!(committed & bit(i)) == (position[i] == 0)); i++ :: else -> break od
            }
            goto done
        :: next == 0 && ended < WRITERS                               /* poll again */
        :: else
        fi
       }
       if
       :: next == 0
       :: d_step { next != 0 -> forget }                              /* the planner dies, its transaction is rolled back */
       :: next != 0 -> d_step {                                       /* COMMIT, or a unique violation on batch_pkey */
            if
#ifdef MUTATE_NO_PRIMARY_KEY
            :: true ->
#else
            :: was == last.last_position ->
#endif
               i = 1; k = was;
               do
               :: i < next_id ->
                  if
                  :: next & bit(i) ->
                     k++; assert(position[i] == 0);                   /* each_committed_row_planned_once */
                     assert(committed & bit(i));                      /* no_rolled_back_row_planned */
                     n_planned++; assert(k == n_planned);             /* positions_gapless */
                     position[i] = k; n_late = 1;
                     do                                               /* key_order: ids of a key are in commit order */
                     :: n_late < i -> assert(!(keyed & bit(i)) || !(keyed & committed & bit(n_late)) || position[n_late] != 0); n_late++
                     :: else -> break
                     od
                  :: else
                  fi; i++
               :: else -> break
               od;
               last.last_position = c.last_position; last.head = c.head; last.xid = c.xid;
               last.snapshot.xmax = c.snapshot.xmax; last.snapshot.xip = c.snapshot.xip; last.late_after = c.late_after;
               last.late_from.xmax = c.late_from.xmax; last.late_from.xip = c.late_from.xip; last.late_until = c.late_until
            :: else
            fi;
            forget
          }
       fi
    od;
done:
    skip
}

init {
    atomic {
        last.snapshot.xmax = 1;                                       /* the row that the migration inserts */
        run Writer(2, false); run Writer(1, KEYED); run Writer(1, KEYED);
        run Planner(); run Planner()
    }
}
