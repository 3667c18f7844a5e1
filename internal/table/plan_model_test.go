package table_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/internal/table/tabletest"
)

// Checks the plan against a model. Three sessions begin, insert, set and roll back savepoints, commit, prepare and
// roll back in any order, and between any two steps a planner may take a page of any size. The model knows what
// committed. The plan must return exactly that, each row once, the rows of a transaction in the order of their
// inserts. After enough pages no committed row may be left, whichever transactions are still open.
func TestPlanModel(t *testing.T) {
	tbl, pool := tabletest.New(t)
	rapid.Check(t, func(r *rapid.T) {
		ctx := context.Background()
		_, err := pool.Exec(ctx, tbl.SQL(`TRUNCATE outbox.event, outbox.batch;
			INSERT INTO outbox.batch (first_position, last_position, ids, head, snapshot) VALUES (0, 0, '{}', 0, pg_current_snapshot())`))
		if err != nil {
			r.Fatal(err)
		}
		session, err := tbl.OpenSession(ctx, pool.Config().ConnConfig.Copy(), t.Name()) // one session keeps the state of the planner
		if err != nil {
			r.Fatal(err)
		}
		defer session.Close()
		m := &model{r: r, table: tbl, session: session, committed: make(map[string]bool), planned: make(map[string]bool)}
		for i := range m.conns {
			conn, err := pgx.ConnectConfig(ctx, pool.Config().ConnConfig.Copy())
			if err != nil {
				r.Fatal(err)
			}
			defer conn.Close(ctx) //nolint:errcheck // rolls back open transactions
			m.conns[i].conn = conn
		}
		defer m.endPrepared()
		r.Repeat(map[string]func(*rapid.T){
			"insert":    m.insert,
			"rollback":  m.rollback,
			"commit":    m.commit,
			"prepare":   m.prepare,
			"savepoint": m.savepoint,
			"undo":      m.undo,
			"xid":       m.burnXID,
			"plan":      m.plan,
			"drain":     m.drain,
		})
		m.drain(r)
	})
}

type modelTx struct {
	conn     *pgx.Conn
	open     bool
	prepared string
	events   []string
	marks    []int // len(events) at each savepoint
}

type model struct {
	r         *rapid.T
	table     *table.Table
	session   *table.Session
	conns     [3]modelTx
	n         int
	committed map[string]bool
	planned   map[string]bool
	last      int64
}

func (m *model) pick(r *rapid.T) *modelTx {
	return &m.conns[rapid.IntRange(0, len(m.conns)-1).Draw(r, "session")]
}

func (m *model) exec(conn *pgx.Conn, sql string) {
	if _, err := conn.Exec(context.Background(), m.table.SQL(sql)); err != nil {
		m.r.Fatalf("%s: %v", sql, err)
	}
}

// begin opens the transaction; half of them own an xid before they insert anything.
func (m *model) begin(r *rapid.T, tx *modelTx) {
	if tx.prepared != "" {
		r.Skip("the session waits for its prepared transaction")
	}
	if tx.open {
		return
	}
	m.exec(tx.conn, "BEGIN")
	if rapid.Bool().Draw(r, "xid first") {
		m.exec(tx.conn, "SELECT pg_current_xact_id()")
	}
	tx.open = true
}

func (m *model) insert(r *rapid.T) {
	tx := m.pick(r)
	m.begin(r, tx)
	for range rapid.IntRange(1, 4).Draw(r, "rows") {
		m.n++
		name := fmt.Sprintf("e.%d", m.n)
		m.exec(tx.conn, fmt.Sprintf("INSERT INTO outbox.event (subject) VALUES ('%s')", name))
		tx.events = append(tx.events, name)
	}
}

func (m *model) savepoint(r *rapid.T) {
	tx := m.pick(r)
	m.begin(r, tx)
	tx.marks = append(tx.marks, len(tx.events))
	m.exec(tx.conn, fmt.Sprintf("SAVEPOINT s%d", len(tx.marks)))
}

func (m *model) undo(r *rapid.T) {
	tx := m.pick(r)
	if !tx.open || len(tx.marks) == 0 {
		r.Skip("no savepoint")
	}
	m.exec(tx.conn, fmt.Sprintf("ROLLBACK TO s%d", len(tx.marks)))
	last := len(tx.marks) - 1
	tx.events, tx.marks = tx.events[:tx.marks[last]], tx.marks[:last]
}

func (m *model) end(tx *modelTx, sql string, commits bool) {
	m.exec(tx.conn, sql)
	for _, e := range tx.events {
		if commits {
			m.committed[e] = true
		}
	}
	*tx = modelTx{conn: tx.conn}
}

func (m *model) commit(r *rapid.T) {
	tx := m.pick(r)
	switch {
	case tx.prepared != "":
		m.end(tx, "COMMIT PREPARED '"+tx.prepared+"'", true)
	case tx.open:
		m.end(tx, "COMMIT", true)
	default:
		r.Skip("nothing open")
	}
}

func (m *model) rollback(r *rapid.T) {
	tx := m.pick(r)
	switch {
	case tx.prepared != "":
		m.end(tx, "ROLLBACK PREPARED '"+tx.prepared+"'", false)
	case tx.open:
		m.end(tx, "ROLLBACK", false)
	default:
		r.Skip("nothing open")
	}
}

func (m *model) prepare(r *rapid.T) {
	tx := m.pick(r)
	if !tx.open {
		r.Skip("nothing open")
	}
	m.n++
	tx.prepared = fmt.Sprintf("%s-%d", m.table.Schema(), m.n)
	m.exec(tx.conn, "PREPARE TRANSACTION '"+tx.prepared+"'")
	tx.open = false
}

func (m *model) endPrepared() {
	for i := range m.conns {
		if tx := &m.conns[i]; tx.prepared != "" {
			_, _ = tx.conn.Exec(context.Background(), "ROLLBACK PREPARED '"+tx.prepared+"'")
		}
	}
}

// burnXID completes a transaction that does not touch the outbox.
func (m *model) burnXID(r *rapid.T) {
	tx := m.pick(r)
	if tx.open {
		r.Skip("in a transaction")
	}
	m.exec(tx.conn, "SELECT pg_current_xact_id()")
}

func (m *model) plan(r *rapid.T) { m.page(r) }

// page plans one page and compares it with the model.
func (m *model) page(r *rapid.T) int {
	events, err := m.session.Plan(context.Background(), table.Page{
		Events: rapid.IntRange(1, 5).Draw(r, "page"), Bytes: 1 << 20,
	})
	if err != nil {
		r.Fatal(err)
	}
	for _, e := range events {
		m.last++
		switch {
		case e.Position != m.last:
			r.Fatalf("position %d where %d belongs", e.Position, m.last)
		case !m.committed[e.Subject]:
			r.Fatalf("%s is planned, but did not commit", e.Subject)
		case m.planned[e.Subject]:
			r.Fatalf("%s is planned twice", e.Subject)
		}
		m.planned[e.Subject] = true
	}
	return len(events)
}

// drain plans until no row is returned. Then every committed row must be planned, whichever transactions are open.
func (m *model) drain(r *rapid.T) {
	for m.page(r) > 0 {
	}
	for e := range m.committed {
		if !m.planned[e] {
			r.Fatalf("%s committed and is not planned", e)
		}
	}
}
