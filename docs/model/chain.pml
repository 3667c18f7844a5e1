/* chain: position p goes to sequence p + base, and the server checks it; the stream decides what counts as published.
 *
 * Code: relay/evidence.go, scan.go, decide.go, apply.go, resend.go, publish.go, window.go, receipts.go, run.go (term),
 * sql/queries/replan.sql, base_insert.sql. Relay 1 leads first. At any moment its session may end: then relay 2 leads, and relay 1
 * is a zombie, which may stop anywhere, continue much later, and ends with its next doubt (Relay.term pings the session). The
 * broker remembers no message ids, so the results hold after every deduplication window. Messages in flight have no order, and
 * may arrive long after their window.
 */
#ifndef RELAYS
#define RELAYS     2
#endif
#ifndef FOREIGN
#define FOREIGN    0             /* messages that a foreign writer appends to the stream */
#endif
#ifndef ROLLBACKS
#define ROLLBACKS  1             /* how often the broker loses the end of the stream, and every connection */
#endif
#ifndef MISHAPS
#define MISHAPS    1             /* messages lost, acks lost, doubts without a cause, crashes of a relay: together */
#endif
#ifndef DUPLICATES
#define DUPLICATES false         /* true checks only nothing_lost */
#endif
#ifndef LOSSES
#define LOSSES     false         /* true checks everything except nothing_lost */
#endif
#define EVENTS 3
#define ALL    14                /* the bits of all events */
#define WINDOW 2
#define SEQ    12                /* this and the rest are bounds of the model, asserted */
#define PLAN   6
#define ROWS   6
#define NET    4
#define MARKER 7                 /* the event of the marker message of a parked position */
#define bit(n) (1 << (n))
/* A message in flight is one number; sender 0: no relay waits for the answer any more. */
#define message(event, position, expected, sender)  ((sender) << 10 | (expected) << 6 | (position) << 3 | (event))
#define event_of(m)    (m & 7)
#define position_of(m) (m >> 3 & 7)
#define expected_of(m) (m >> 6 & 15)
#define sender_of(m)   (m >> 10)
typedef Relay {
    byte end, receipt, rows, known, last, foreign, misplaced;        /* resume: the values read; scan: positions, and sets of them */
    byte first, next, start, sent, flying, acked, parked, wrote, mine; short base;   /* window and recorder */
    bool doubt, down, leads
}
byte  s_event[SEQ + 1], s_position[SEQ + 1], end;                /* the stream; event 0 is a foreign message */
byte  plan[PLAN + 1], planned, had;                              /* outbox.batch: the event of each position; events that have one */
byte  parked;                                                    /* outbox.parked */
byte  b_from[ROWS], rows; short b_base[ROWS];                    /* outbox.base */
byte  receipt;                                                   /* position of the newest outbox.receipt */
short net[NET];
byte  foreigns = FOREIGN, rollbacks = ROLLBACKS, mishaps = MISHAPS;
Relay r[3];
hidden byte i, k, p, e, belongs, ceiling, from;                  /* used within one d_step, not part of the state */
hidden short b;

inline baseOf(n, position) {     /* stream.BaseLog.BaseOf over the first n rows, newest first: b */
    b = -1; i = n;
    do :: i > 0 && b == -1 -> i--; if :: b_from[i] <= position -> b = b_base[i] :: else fi :: else -> break od
}
inline positionAt(n, sequence) { /* stream.BaseLog.PositionAt: p, belongs */
    p = 0; belongs = 0; ceiling = 0; i = n; k = 0;
    do
    :: i > 0 && !k ->
        i--;
        if :: sequence >= b_from[i] + b_base[i] ->
                p = sequence - b_base[i]; belongs = 1; k = 1;
                if :: ceiling && p >= ceiling -> p = ceiling - 1; belongs = 0 :: else fi
           :: else -> if :: !ceiling || b_from[i] < ceiling -> ceiling = b_from[i] :: else fi
        fi
    :: else -> break
    od
}
inline sort() {                  /* makes all orders one state */
    k = 0;
    do :: k < NET - 1 -> i = 0;
          do :: i < NET - 1 -> if :: net[i] < net[i + 1] -> b = net[i]; net[i] = net[i + 1]; net[i + 1] = b :: else fi; i++
             :: else -> break od; k++
       :: else -> break od
}
#define ME   r[me]
#define open (!ME.doubt && !ME.down && ME.next - ME.first < (ME.first == ME.start -> 1 : WINDOW) && !net[NET - 1])   /* window.full, with probe */
inline send(what) { d_step {     /* publisher.send */
    printf("relay %d sends position %d event %d expecting %d\n", me, ME.next, what, ME.next + ME.base - 1);
    net[NET - 1] = message(what, ME.next, ME.next + ME.base - 1, me); sort();
    ME.next++; ME.sent++; ME.flying++ } }
inline forget() { ME.end = 0; ME.receipt = 0; ME.rows = 0; ME.known = 0; ME.last = 0; ME.foreign = 0; ME.misplaced = 0 }

proctype Run(byte me) {
    if :: me == 2 -> atomic { r[1].leads = false; r[2].leads = true } :: else fi;      /* Relay.lead */
resume:
    atomic { ME.receipt = receipt; ME.rows = rows; printf("relay %d reads receipt %d, %d bases\n", me, receipt, rows) };                  /* Relay.gatherTable */
    atomic { ME.down = false; ME.end = end; printf("relay %d reads the end %d\n", me, end) };                  /* ensureStream */
    atomic { d_step {                                            /* Relay.scanTail, compare */
        if
        :: !ME.rows                                              /* begin: next is 1 */
        :: else ->
            ME.known = ME.receipt; positionAt(ME.rows, ME.end);
            if :: p < ME.known -> ME.known = (p -> p - 1 : 0) :: else fi;              /* the stream lost acknowledged messages */
            ME.last = ME.known;
#if defined(MUTATE_RESUME_AT_LAST)
            if :: p > ME.last -> ME.last = p :: else fi;
            if :: ME.end && s_event[ME.end] -> ME.last = s_position[ME.end] :: else fi
#elif !defined(MUTATE_RESUME_AT_RECEIPT)
            baseOf(ME.rows, ME.known + 1); from = ME.known + b + 1;
            if :: from > ME.end && p > ME.last -> ME.last = p :: else fi;
            do
            :: from <= ME.end && from <= end ->
                positionAt(ME.rows, from);
                if
                :: !belongs
                :: belongs && p <= planned && (parked & bit(p) || s_position[from] == p && (s_event[from] == plan[p] || s_event[from] == MARKER)) -> ME.last = p
                :: else -> ME.foreign = ME.foreign | bit(p);
#ifdef FIX_MISPLACED             /* an event of ours at a sequence that is not its own is published; its position gets a marker */
                    if :: s_event[from] && s_event[from] != MARKER -> ME.misplaced = ME.misplaced | bit(s_position[from]) :: else fi
#endif
                fi; from++
            :: else -> break
            od;
#ifdef FIX_SCAN                  /* fewer messages arrived than the end promised: read again */
            ME.doubt = from <= ME.end
#endif
#endif
        fi;
        printf("relay %d scanned: known %d last %d foreign %d\n", me, ME.known, ME.last, ME.foreign);
        ME.foreign = ME.foreign & (bit(ME.last + 1) - 1); ME.known = 0; ME.receipt = 0 };
        if :: (ME.foreign || ME.misplaced) && !ME.doubt :: else -> goto settle fi };
    d_step {                                                     /* Relay.resend; replan.sql is one statement */
        k = 1;
        do
        :: k <= ME.last ->
            if :: ME.foreign & bit(k) && k <= planned && !((parked | ME.misplaced) & bit(k)) ->
                    parked = parked | bit(k); planned++; assert(planned <= PLAN); plan[planned] = plan[k]; printf("relay %d replans %d as %d\n", me, k, planned)
               :: else
            fi; k++
        :: else -> break
        od;
        parked = parked | ME.misplaced
    };
settle:
    atomic {
        if :: skip :: mishaps > 0 -> mishaps--; ME.doubt = true fi;
        if :: ME.doubt -> goto doubt :: else fi;
        d_step {
            ME.next = ME.last + 1; ME.base = ME.end - ME.last; baseOf(ME.rows, ME.next);
            printf("relay %d continues: position %d base %d, was %d\n", me, ME.next, ME.base, b);
#ifdef FIX_SETTLE                /* a newer row for later positions must not stay in force */
            if :: ME.rows && b_from[ME.rows - 1] > ME.next -> b = -1 :: else fi;
#endif
            ME.doubt = b != ME.base && ME.rows != rows;          /* base_pkey */
            if :: b != ME.base && ME.rows == rows -> assert(rows < ROWS); b_from[rows] = ME.next; b_base[rows] = ME.base; rows++ :: else fi
        }
        if :: ME.doubt -> goto doubt :: else fi;
        ME.first = ME.next; ME.start = ME.next; ME.parked = parked; forget();          /* Relay.publish */
#ifndef FIX_LISTEN
        ME.down = false                                          /* StatusChanged reports only later changes */
#endif
    };
end_window:
    do
#ifdef MUTATE_PUBLISH_BEFORE_PLAN
    :: atomic { open && ME.leads && ME.next == planned + 1 && had != ALL ->
           if :: !(had & 2) -> ME.mine = 1 :: !(had & 4) -> ME.mine = 2 :: !(had & 8) -> ME.mine = 3 fi; send(ME.mine) }
    :: atomic { ME.mine && ME.leads && ME.next == planned + 2 -> planned++; had = had | bit(ME.mine); plan[planned] = ME.mine; ME.mine = 0 }
#else
    :: atomic { open && ME.leads && ME.next == planned + 1 && had != ALL ->            /* source.plan: plan.pml verifies it */
           d_step { e = 1; do :: had & bit(e) -> e++ :: else -> break od; planned++; assert(planned <= PLAN); had = had | bit(e); plan[planned] = e };
           send(plan[planned]) }
#endif
    :: atomic { open && ME.next <= planned -> send((ME.parked & bit(ME.next) -> MARKER : plan[ME.next])) }
    :: atomic { ME.first > ME.start && ME.wrote != ME.first - 1 -> ME.wrote = ME.first - 1; receipt = ME.wrote; printf("relay %d writes receipt %d\n", me, receipt) }
    :: ME.doubt || ME.down || ME.sent > ME.flying -> break       /* an answer that is a doubt; connection lost; AckWait */
    :: atomic { mishaps > 0 -> mishaps--; break }
    od;
doubt:
    skip;
    d_step {                     /* messages in flight stay there, and no relay waits for the answers */
#ifdef PROMPT                    /* assumes that nothing arrives after its window */
#define late 0
#else
#define late (net[i] & 1023)
#endif
        i = 0; do :: i < NET -> if :: sender_of(net[i]) == me -> net[i] = late :: else fi; i++ :: else -> break od;
        sort(); forget(); ME.doubt = false; ME.first = 0; ME.next = 0; ME.start = 0; ME.sent = 0; ME.flying = 0; ME.acked = 0;
        ME.parked = 0; ME.wrote = 0; ME.mine = 0; ME.base = 0
    };
    skip;
    if :: ME.leads -> goto resume :: !ME.leads fi
}

proctype Broker() {              /* and the network, the foreign writer, and the final check */
    byte m, who;
end_broker:
    do
    :: atomic {
           if :: net[0] -> m = 0 :: net[1] -> m = 1 :: net[2] -> m = 2 :: net[3] -> m = 3 fi;
           who = sender_of(net[m]);
           if
#ifdef MUTATE_NO_EXPECTED_SEQUENCE
           :: true ->
#else
           :: expected_of(net[m]) != end ->                      /* 10071 */
               printf("refused: position %d expecting %d\n", position_of(net[m]), expected_of(net[m]));
               if :: who -> r[who].doubt = true; r[who].flying--; r[who].sent-- :: else fi
           :: expected_of(net[m]) == end ->                      /* Nats-Expected-Last-Sequence */
#endif
               d_step {
                   end++; assert(end <= SEQ); s_event[end] = event_of(net[m]); s_position[end] = position_of(net[m]); i = 1;
                   printf("sequence %d: position %d event %d\n", end, s_position[end], s_event[end]);
                   do :: i < end -> assert(DUPLICATES || s_event[i] == 0 || s_event[i] == MARKER || s_event[i] != s_event[end]); i++   /* each_event_once */
                      :: else -> break od;
                   assert(DUPLICATES || FOREIGN || s_position[end] == end)                             /* position_order */
               };
               if
               :: !who
               :: who -> d_step {                                /* publisher.acked, window.ack */
                      r[who].flying--; r[who].sent--; r[who].acked = r[who].acked | bit(position_of(net[m]));
                      do :: r[who].acked & bit(r[who].first) -> r[who].acked = r[who].acked & ~bit(r[who].first); r[who].first++ :: else -> break od;
                      m = m }
               :: who && mishaps > 0 -> mishaps--; r[who].flying--                                     /* the ack is lost */
               fi
           :: !who                                               /* the message is lost */
           :: who && mishaps > 0 -> mishaps--; r[who].flying--
           fi;
           d_step { net[m] = 0; sort(); m = 0; who = 0 }
       }
    :: atomic { foreigns > 0 -> foreigns--; end++; assert(end <= SEQ); printf("sequence %d: foreign\n", end) }
    :: atomic { rollbacks > 0 && end > 0 ->
           rollbacks--; r[1].down = true; r[2].down = true;
           do :: end > 0 -> s_event[end] = 0; s_position[end] = 0; end--; if :: skip :: break fi :: else -> break od;
           printf("the broker loses all after %d\n", end) }
    :: timeout ->                                                /* no step is possible any more: nothing_lost */
           d_step { e = 1;
               do :: e <= EVENTS -> k = 0; i = 1;
                     do :: i <= end -> if :: s_event[i] == e -> k++ :: else fi; i++ :: else -> break od;
                     assert(k == 1 || DUPLICATES && k > 1 || LOSSES && !k); e++
                  :: else -> break od; m = m };
           break
    od
}

init { atomic { r[1].leads = true; run Run(1); if :: RELAYS == 2 -> run Run(2) :: else fi; run Broker() } }
