// pgx: statements prepared and cached, everything in binary, batches, cursors. Checks itself.
//
//	pgx HOST PORT
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func expect(given, expected any) {
	if !reflect.DeepEqual(given, expected) {
		panic(fmt.Sprintf("%#v instead of %#v", given, expected))
	}
}

func code(err error) string {
	var failed *pgconn.PgError
	if !errors.As(err, &failed) {
		panic(fmt.Sprintf("an error of the server was to come, not %v", err))
	}
	return failed.Code
}

func values(ctx context.Context, conn *pgx.Conn) {
	_, err := conn.Exec(ctx, "CREATE STREAM kinds (id bigint PRIMARY KEY, truth boolean, small smallint,"+
		" double double precision, words text, bytes bytea, moment timestamptz, texts text[], longs bigint[])")
	check(err)
	moment := time.Date(2024, 2, 29, 12, 30, 0, 250000000, time.UTC)
	tag, err := conn.Exec(ctx, "INSERT INTO kinds VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
		int64(1), true, int16(-3), 1e300, "ä", []byte{0, 255}, moment, []string{"a", "b c"}, []int64{1 << 40})
	check(err)
	expect(tag.String(), "INSERT 0 1")
	for range []int{0, 1, 2} {
		var (
			truth  bool
			small  int16
			double float64
			words  string
			bytes  []byte
			at     time.Time
			texts  []string
			longs  []int64
		)
		row := conn.QueryRow(ctx, "SELECT truth, small, double, words, bytes, moment, texts, longs"+
			" FROM kinds WHERE id = $1", 1)
		check(row.Scan(&truth, &small, &double, &words, &bytes, &at, &texts, &longs))
		expect([]any{truth, small, double, words, bytes, at.UTC(), texts, longs},
			[]any{true, int16(-3), 1e300, "ä", []byte{0, 255}, moment, []string{"a", "b c"}, []int64{1 << 40}})
	}
}

func batches(ctx context.Context, conn *pgx.Conn) {
	_, err := conn.Exec(ctx, "CREATE STREAM pairs (k bigint PRIMARY KEY, v text)")
	check(err)
	batch := &pgx.Batch{}
	for k := 0; k < 300; k++ {
		batch.Queue("INSERT INTO pairs VALUES ($1, $2)", k, fmt.Sprint("v", k))
	}
	check(conn.SendBatch(ctx, batch).Close())
	rows, err := conn.Query(ctx, "SELECT v FROM pairs WHERE k = ANY($1) ORDER BY k", []int64{3, 1})
	check(err)
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	check(err)
	expect(found, []string{"v1", "v3"})
	_, err = conn.Exec(ctx, "INSERT INTO pairs VALUES (1, 'again')")
	expect(code(err), "23505")
	_, err = conn.Exec(ctx, "SELECT nothing FROM pairs")
	expect(code(err), "42703")
}

func transactions(ctx context.Context, conn *pgx.Conn) {
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	check(err)
	_, err = tx.Exec(ctx, "UPDATE pairs SET v = 'one' WHERE k = 1")
	check(err)
	inner, err := tx.Begin(ctx)
	check(err)
	_, err = inner.Exec(ctx, "UPDATE pairs SET v = 'two' WHERE k = 2")
	check(err)
	check(inner.Rollback(ctx))
	check(tx.Commit(ctx))
	tx, err = conn.Begin(ctx)
	check(err)
	_, err = tx.Exec(ctx, "DECLARE c CURSOR FOR SELECT v FROM pairs ORDER BY k")
	check(err)
	rows, err := tx.Query(ctx, "FETCH 3 FROM c")
	check(err)
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	check(err)
	expect(found, []string{"v0", "one", "v2"})
	check(tx.Rollback(ctx))
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	url := fmt.Sprintf("postgres://tester@%s:%s/anabranch", os.Args[1], os.Args[2])
	conn, err := pgx.Connect(ctx, url)
	check(err)
	defer conn.Close(ctx)
	values(ctx, conn)
	batches(ctx, conn)
	transactions(ctx, conn)
}
