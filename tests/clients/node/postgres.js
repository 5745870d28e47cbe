// node-postgres: simple and extended queries, types, pools, errors. Checks itself.
//
//     postgres.js HOST PORT
'use strict';

const assert = require('node:assert/strict');
const { Client, Pool } = require('pg');

const where = {
  host: process.argv[2],
  port: Number(process.argv[3]),
  user: 'tester',
  database: 'anabranch',
};

async function queries(client) {
  await client.query('CREATE STREAM notes (id bigint PRIMARY KEY, words text[], at timestamptz,'
    + ' price numeric(10,2), document jsonb, done boolean, size integer)');
  const at = new Date('2024-02-29T12:30:00.250Z');
  for (let id = 0; id < 20; id++) {
    const inserted = await client.query(
      'INSERT INTO notes (id, words, at, price, document, done, size) VALUES ($1, $2, $3, $4, $5, $6, $7)',
      [id, ['a', `b ${id}`], at, id / 4, { id, list: [1, null] }, id % 2 === 0, id],
    );
    assert.equal(inserted.rowCount, 1);
    assert.equal(inserted.command, 'INSERT');
  }
  // Prepared by name, asked twice.
  for (const id of [3, 4]) {
    const { rows, fields } = await client.query({
      name: 'note', text: 'SELECT * FROM notes WHERE id = $1', values: [id],
    });
    assert.deepEqual(rows, [{
      id: String(id),
      words: ['a', `b ${id}`],
      at,
      price: (id / 4).toFixed(2),
      document: { id, list: [1, null] },
      done: id % 2 === 0,
      size: id,
    }]);
    assert.deepEqual(fields.map((field) => field.dataTypeID), [20, 1009, 1184, 1700, 3802, 16, 23]);
  }
  const two = await client.query('SELECT 1 AS a; SELECT count(*) AS n FROM notes');
  assert.deepEqual(two.map((result) => result.rows[0]), [{ a: 1 }, { n: '20' }]);
  const arrays = await client.query({ text: 'SELECT id, size FROM notes ORDER BY id LIMIT 2', rowMode: 'array' });
  assert.deepEqual(arrays.rows, [['0', 0], ['1', 1]]);
  await assert.rejects(client.query('SELECT nothing FROM notes'), { code: '42703' });
  await assert.rejects(client.query('INSERT INTO notes (id) VALUES ($1)', [1]), { code: '23505' });
}

async function transactions(client) {
  await client.query('BEGIN');
  await client.query('UPDATE notes SET size = 100 WHERE id = $1', [1]);
  await client.query('ROLLBACK');
  await client.query('BEGIN');
  await client.query('DECLARE c CURSOR FOR SELECT id FROM notes ORDER BY id');
  const { rows } = await client.query('FETCH 3 FROM c');
  assert.deepEqual(rows.map((row) => row.id), ['0', '1', '2']);
  await client.query('CLOSE c');
  await client.query('COMMIT');
  const { rows: [{ size }] } = await client.query('SELECT size FROM notes WHERE id = 1');
  assert.equal(size, 1);
}

async function pooled() {
  const pool = new Pool({ ...where, max: 4 });
  const found = await Promise.all(
    Array.from({ length: 20 }, (_, id) => pool.query('SELECT size FROM notes WHERE id = $1', [id])),
  );
  assert.deepEqual(found.map((result) => result.rows[0].size), Array.from({ length: 20 }, (_, id) => id));
  await pool.end();
}

async function main() {
  const client = new Client(where);
  await client.connect();
  await queries(client);
  await transactions(client);
  await client.end();
  await pooled();
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
