/* chain: position p goes to sequence p + base, and the server checks it; what is published is read from the stream.
 *
 * Code: relay/resume.go, scan.go, window.go, publish.go, receipts.go, run.go (term), sql/queries/replan.sql, base_insert.sql. Relay 1
 * leads first; from some moment on its session is over, relay 2 leads, and relay 1 is a zombie that may stop anywhere
 * and go on much later, until its next doubt (term pings the session). There is no dedupe window: all that holds holds past it.
 */
#ifndef FOREIGN
#define FOREIGN   0              /* messages that someone else puts into the stream */
#endif
#ifndef ROLLBACKS
#define ROLLBACKS 1              /* how often the broker loses the end of the stream */
#endif
#ifndef MISHAPS
#define MISHAPS   2              /* messages lost, acks lost, connections lost, crashes: together */
#endif
#ifndef RELAYS
#define RELAYS    2
#endif
#define EVENTS 3
#define ALL    14               /* bits of the events */
#define WINDOW 2
#define SEQ    8                 /* bounds of the model, asserted */
#define PLAN   6
#define LOG    6
#define NET    4
#define MARKER 7                 /* the event of a message that stands in for a parked position */
#define bit(n) (1 << (n))
/* A message in flight is one number; from 0: nobody waits for its answer any more */
#define message(event, position, expected, from)  ((from) << 10 | (expected) << 6 | (position) << 3 | (event))
#define event_of(m)     (m & 7)
#define position_of(m)  (m >> 3 & 7)
#define expected_of(m)  (m >> 6 & 15)
#define from_of(m)      (m >> 10)
typedef Relay   { byte t, known, first, next, sent, flying, wrote, start, rows, receipt, last; short base; byte acked, foreign, parked, stray; bool refused, down, leads; byte mine }

byte    s_event[SEQ + 1], s_position[SEQ + 1], end;              /* the stream; event 0 is foreign */
byte    plan[PLAN + 1], planned, had;                            /* outbox.batch: event of each position, how many; events that have one */
byte    parked;                                                  /* outbox.parked */
byte    b_from[LOG], rows; short b_base[LOG];                    /* outbox.base */
byte    receipt;                                                 /* position of the newest outbox.receipt */
short   net[NET];                                                /* sent and neither stored, refused nor lost; in no order */
byte    foreigns = FOREIGN, rollbacks = ROLLBACKS, mishaps = MISHAPS;
Relay   r[3];
hidden byte i, k, p, e;
hidden byte belongs, ceiling, from;
hidden short b;

inline baseOf(n, position) {     /* baseLog.baseOf over the first n rows, newest first: b */
    b = -1; i = n;
    do :: i > 0 && b == -1 -> i--; if :: b_from[i] <= position -> b = b_base[i] :: else fi
       :: else -> break
    od
}
inline positionAt(n, sequence) { /* baseLog.positionAt: p, belongs */
    p = 0; belongs = 0; ceiling = 0; i = n; k = 0;
    do :: i > 0 && k == 0 ->
          i--;
          if :: sequence >= b_from[i] + b_base[i] ->
                p = sequence - b_base[i]; belongs = 1; k = 1;
                if :: ceiling && p >= ceiling -> p = ceiling - 1; belongs = 0 :: else fi
             :: else -> if :: !ceiling || b_from[i] < ceiling -> ceiling = b_from[i] :: else fi
          fi
       :: else -> break
    od
}
inline sort() {                   /* one state for all orders */
    k = 0;
    do :: k < NET - 1 ->
          i = 0;
          do :: i < NET - 1 -> if :: net[i] < net[i + 1] -> b = net[i]; net[i] = net[i + 1]; net[i + 1] = b :: else fi; i++
             :: else -> break
          od; k++
       :: else -> break
    od
}
#define ME r[me]
#define works (!ME.refused && !ME.down)
#define room  (ME.next - ME.first < (ME.first == ME.start -> 1 : WINDOW) && !net[NET - 1])
inline send(what) { d_step {
    printf("relay %d sends position %d event %d, expects %d\n", me, ME.next, what, ME.next + ME.base - 1);
    net[NET - 1] = message(what, ME.next, ME.next + ME.base - 1, me); sort();
    ME.next++; ME.sent++; ME.flying++ }
}

proctype Run(byte me) {
    if :: me == 2 -> atomic { r[1].leads = false; r[2].leads = true } :: else fi;     /* Relay.lead */
resume:
    ME.down = false;
#ifdef FIX_ORDER
    d_step { ME.receipt = receipt; ME.rows = rows; printf("relay %d reads receipt %d and %d bases\n", me, receipt, rows) };
    atomic { ME.down = false; ME.t = end; printf("relay %d reads the end %d\n", me, end) };
#else
    atomic { ME.down = false; ME.t = end; printf("relay %d reads the end %d\n", me, end) };                      /* ensureStream */
    d_step { ME.receipt = receipt; ME.rows = rows; printf("relay %d reads receipt %d and %d bases\n", me, receipt, rows) };   /* LastReceipt, Bases */
#endif
    atomic { d_step {                                            /* scan */
        ME.known = 0; ME.foreign = 0;
        if
        :: ME.rows == 0 -> ME.last = 0                           /* begin */
        :: else ->
            ME.known = ME.receipt;
            positionAt(ME.rows, ME.t);
            if :: p < ME.known -> ME.known = (p > 0 -> p - 1 : 0) :: else fi;          /* it lost acknowledged ones */
            ME.last = ME.known;
#if defined(MUTATE_RESUME_AT_RECEIPT)
#elif defined(MUTATE_RESUME_AT_LAST)
            if :: p > ME.last -> ME.last = p :: else fi;
            if :: ME.t > 0 && ME.t <= end && s_event[ME.t] -> ME.last = s_position[ME.t] :: else fi
#else
            baseOf(ME.rows, ME.known + 1);
            from = ME.known + b + 1;
            if :: from > ME.t -> positionAt(ME.rows, ME.t); if :: p > ME.last -> ME.last = p :: else fi
               :: else
            fi;
            do
            :: from <= ME.t && from <= end ->
                positionAt(ME.rows, from);
                if
                :: !belongs
                :: belongs && p <= planned && ((s_position[from] == p && (s_event[from] == plan[p] || s_event[from] == MARKER)) || (parked & bit(p))) -> ME.last = p
                :: else -> ME.foreign = ME.foreign | bit(p);
#ifdef FIX_STRAY
                    if :: s_event[from] && s_event[from] != MARKER && s_position[from] <= planned && plan[s_position[from]] == s_event[from] ->
                            ME.stray = ME.stray | bit(s_position[from])
                       :: else
                    fi
#endif
                fi;
                from++
            :: else -> break
            od;
#ifdef FIX_SCAN
            ME.refused = from <= ME.t
#endif
#endif
        fi;
        printf("relay %d scanned: known %d, last %d, foreign mask %d\n", me, ME.known, ME.last, ME.foreign);
        ME.foreign = ME.foreign & (bit(ME.last + 1) - 1); ME.known = 0; ME.receipt = 0
    }
    if :: (ME.foreign || ME.stray) && !ME.refused :: else -> goto settle fi };
    d_step {                                                     /* replan: the batch and outbox.parked in one statement */
        k = 1;
        do
        :: k <= ME.last ->
            if :: (ME.foreign & bit(k)) && k <= planned && !((parked | ME.stray) & bit(k)) ->
                  parked = parked | bit(k); planned++; assert(planned <= PLAN); plan[planned] = plan[k]; printf("relay %d replans position %d as %d\n", me, k, planned)
               :: else
            fi; k++
        :: else -> break
        od;
        parked = parked | ME.stray; ME.stray = 0
    }
settle:
    atomic {                                                     /* settle */
        if :: ME.refused -> goto doubt :: else fi;
        if :: skip :: mishaps > 0 -> mishaps--; goto doubt fi;
        d_step {
            ME.next = ME.last + 1; ME.base = ME.t - ME.last;
            baseOf(ME.rows, ME.next);
            printf("relay %d settles: next %d base %d (has %d)\n", me, ME.next, ME.base, b);
            ME.refused = b != ME.base && ME.rows != rows;        /* base_pkey */
            if :: b != ME.base && ME.rows == rows -> assert(rows < LOG); b_from[rows] = ME.next; b_base[rows] = ME.base; rows++
               :: else
            fi
        }
        if :: ME.refused -> goto doubt :: else fi;
        ME.first = ME.next; ME.start = ME.next; ME.parked = parked;
#ifndef FIX_LISTEN
        ME.down = false;                                         /* publish: StatusChanged tells only what comes after it */
#endif
        ME.t = 0; ME.rows = 0; ME.receipt = 0; ME.known = 0; ME.foreign = 0; ME.stray = 0; ME.last = 0
    }
endrun: do
#ifdef MUTATE_PUBLISH_FIRST
    :: atomic { works && ME.leads && ME.next == planned + 1 && had != ALL && room ->
           if :: !(had & bit(1)) -> ME.mine = 1 :: !(had & bit(2)) -> ME.mine = 2 :: !(had & bit(3)) -> ME.mine = 3 fi;
           send(ME.mine) }
    :: atomic { ME.mine && ME.leads && ME.next == planned + 2 ->
           planned++; had = had | bit(ME.mine); plan[planned] = ME.mine; ME.mine = 0 }
#else
    :: atomic { works && ME.leads && ME.next == planned + 1 && had != ALL && room ->          /* plan, then send */
           d_step { e = 1; do :: had & bit(e) -> e++ :: else -> break od;
                    planned++; assert(planned <= PLAN); had = had | bit(e); plan[planned] = e };
           send(plan[planned]) }
#endif
    :: atomic { works && ME.next <= planned && room ->
           send((ME.parked & bit(ME.next) -> MARKER : plan[ME.next])) }   /* behind a window; the first one alone (probe) */
    :: atomic { ME.first > ME.start && ME.wrote != ME.first - 1 -> ME.wrote = ME.first - 1; receipt = ME.first - 1; printf("relay %d writes receipt %d\n", me, receipt) }   /* recorder */
#ifdef QUIESCED                  /* suppose that publisher.quiesce always gets its answers */
    :: ME.refused && !ME.flying || ME.down || ME.sent > ME.flying -> break
#else
    :: ME.refused || ME.down || ME.sent > ME.flying -> break     /* an answer that is a doubt; connection lost; AckWait */
#endif
    :: atomic { mishaps > 0 -> mishaps--; break }                /* a doubt without a cause, a crash */
    od;
doubt:
    skip;
    d_step {
        i = 0;
        do :: i < NET -> if :: from_of(net[i]) == me -> net[i] = net[i] & 1023 :: else fi; i++ :: else -> break od;
        sort();
        ME.sent = 0; ME.flying = 0; ME.acked = 0; ME.refused = false; ME.wrote = 0; ME.first = 0; ME.next = 0; ME.base = 0; ME.start = 0; ME.parked = 0; ME.mine = 0;
        ME.t = 0; ME.rows = 0; ME.receipt = 0; ME.known = 0; ME.foreign = 0; ME.stray = 0; ME.last = 0
    };
    skip;
    if :: ME.leads -> goto resume :: !ME.leads fi
}

inline store() {
    end++; assert(end <= SEQ);
    printf("stored: sequence %d, position %d, event %d\n", end, position_of(net[m]), event_of(net[m]));
    s_event[end] = event_of(net[m]); s_position[end] = position_of(net[m]); i = 1;
    do :: i < end -> assert(s_event[i] == 0 || s_event[i] == MARKER || s_event[i] != s_event[end]); i++ :: else -> break od;   /* each_event_once */
    assert(FOREIGN > 0 || s_position[end] == end)                                                          /* position_order */
}

proctype Broker() {
    byte m, who;
endwait: do
    :: atomic {
           if :: net[0] -> m = 0 :: net[1] -> m = 1 :: net[2] -> m = 2 :: net[3] -> m = 3 fi;
           who = from_of(net[m]);
           if
#ifdef MUTATE_NO_EXPECTED_SEQUENCE
           :: true ->
#else
           :: expected_of(net[m]) == end ->                          /* Nats-Expected-Last-Sequence */
#endif
               d_step { store() };
               if
               :: who == 0
               :: who != 0 -> d_step {                           /* the ack is taken: window.ack */
                      r[who].flying--; r[who].sent--; r[who].acked = r[who].acked | bit(position_of(net[m]));
                      do :: r[who].acked & bit(r[who].first) -> r[who].acked = r[who].acked & ~bit(r[who].first); r[who].first++ :: else -> break od; m = m }
               :: who != 0 && mishaps > 0 -> mishaps--; r[who].flying--
               fi
#ifndef MUTATE_NO_EXPECTED_SEQUENCE
           :: expected_of(net[m]) != end ->                          /* 10071 */
               printf("refused: position %d expects %d, end %d\n", position_of(net[m]), expected_of(net[m]), end);
               if :: who -> r[who].refused = true; r[who].flying-- :: else fi
#endif
           :: who == 0                                           /* lost */
           :: who != 0 && mishaps > 0 -> mishaps--; r[who].flying--
           fi;
           d_step { net[m] = 0; sort(); m = 0; who = 0 }
       }
    :: atomic { foreigns > 0 && end < SEQ -> foreigns--; end++; printf("foreign message at sequence %d\n", end) }
    :: atomic { rollbacks > 0 && end > 0 ->
           rollbacks--; r[1].down = true; r[2].down = true;
           do :: end > 0 -> s_event[end] = 0; s_position[end] = 0; end-- ; if :: skip :: break fi :: else -> break od; printf("broker goes back to %d\n", end) }
    :: timeout -> d_step {                                       /* nothing_lost: nothing can happen any more */
           e = 1;
           do
           :: e <= EVENTS ->
               k = 0; i = 1;
               do :: i <= end -> if :: s_event[i] == e -> k++ :: else fi; i++ :: else -> break od;
               assert(k == 1); e++
           :: else -> break
           od }
       break
    od
}

init { atomic { r[1].leads = true; run Run(1); if :: RELAYS == 2 -> run Run(2) :: else fi; run Broker() } }
