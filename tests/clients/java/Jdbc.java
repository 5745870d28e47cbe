import java.math.BigDecimal;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Types;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;

/** PostgreSQL's JDBC driver: metadata, server-side statements, cursors, batches. Checks itself. */
final class Jdbc {
    private Jdbc() {}

    public static void main(String[] arguments) throws SQLException {
        String url = "jdbc:postgresql://" + arguments[0] + ":" + arguments[1] + "/anabranch?user=tester";
        try (Connection connection = DriverManager.getConnection(url)) {
            define(connection);
            metadata(connection.getMetaData());
            values(connection);
            batches(connection);
            cursors(connection);
            transactions(connection);
        }
        try (Connection connection = DriverManager.getConnection(url + "&prepareThreshold=-1")) {
            // Binary from the first time on.
            values(connection);
        }
        try (Connection connection = DriverManager.getConnection(url + "&preferQueryMode=simple")) {
            expect(one(connection, "SELECT count(*) FROM lines"), "1000");
        }
    }

    private static void define(Connection connection) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute("CREATE STREAM lines (document bigint, number integer, text text NOT NULL,"
                    + " price numeric(10,2), PRIMARY KEY (document, number))");
            statement.execute("CREATE STREAM plain (a integer, b timestamptz)");
            statement.execute("CREATE STREAM kinds (id uuid PRIMARY KEY, truth boolean, small smallint,"
                    + " single real, twice double precision, exact numeric(30,4), bytes bytea, day date,"
                    + " moment timestamptz, document jsonb, integers integer[], texts text[])");
        }
    }

    private static void metadata(DatabaseMetaData metadata) throws SQLException {
        expect(metadata.getDatabaseProductName(), "PostgreSQL");
        expect(metadata.getDatabaseMajorVersion(), 15);
        List<String> schemas = strings(metadata.getSchemas(), "TABLE_SCHEM");
        expect(schemas.containsAll(List.of("public", "log", "sys", "pg_catalog")), true);
        expect(strings(metadata.getCatalogs(), "TABLE_CAT"), List.of("anabranch"));
        expect(strings(metadata.getTables(null, "public", "%", new String[] {"TABLE"}), "TABLE_NAME"),
                List.of("kinds", "lines", "plain"));
        expect(strings(metadata.getTables(null, "log", "li%", new String[] {"VIEW"}), "TABLE_NAME"),
                List.of("lines"));
        ResultSet columns = metadata.getColumns(null, "public", "lines", "%");
        List<String> found = new ArrayList<>();
        while (columns.next()) {
            found.add(columns.getString("COLUMN_NAME") + " " + columns.getInt("DATA_TYPE") + " "
                    + columns.getString("TYPE_NAME") + " " + columns.getInt("COLUMN_SIZE") + " "
                    + columns.getInt("DECIMAL_DIGITS") + " " + columns.getString("IS_NULLABLE") + " "
                    + columns.getInt("ORDINAL_POSITION"));
        }
        expect(found, List.of(
                "document " + Types.BIGINT + " int8 19 0 NO 1",
                "number " + Types.INTEGER + " int4 10 0 NO 2",
                "text " + Types.VARCHAR + " text 2147483647 0 NO 3",
                "price " + Types.NUMERIC + " numeric 10 2 YES 4"));
        ResultSet keys = metadata.getPrimaryKeys(null, "public", "lines");
        found.clear();
        while (keys.next()) {
            found.add(keys.getString("COLUMN_NAME") + " " + keys.getInt("KEY_SEQ") + " "
                    + keys.getString("PK_NAME"));
        }
        expect(found, List.of("document 1 lines_pkey", "number 2 lines_pkey"));
        expect(strings(metadata.getPrimaryKeys(null, "public", "plain"), "COLUMN_NAME"), List.of());
        ResultSet indexes = metadata.getIndexInfo(null, "public", "lines", true, true);
        found.clear();
        while (indexes.next()) {
            found.add(indexes.getString("INDEX_NAME") + " " + indexes.getBoolean("NON_UNIQUE") + " "
                    + indexes.getString("COLUMN_NAME") + " " + indexes.getInt("ORDINAL_POSITION"));
        }
        expect(found, List.of("lines_pkey false document 1", "lines_pkey false number 2"));
        List<String> types = strings(metadata.getTypeInfo(), "TYPE_NAME");
        expect(types.containsAll(List.of("int8", "text", "numeric", "timestamptz", "uuid", "_int4")), true);
        expect(strings(metadata.getImportedKeys(null, "public", "lines"), "FKCOLUMN_NAME"), List.of());
        expect(strings(metadata.getExportedKeys(null, "public", "lines"), "FKCOLUMN_NAME"), List.of());
        expect(strings(metadata.getFunctions(null, "public", "%"), "FUNCTION_NAME"), List.of());
        expect(strings(metadata.getProcedures(null, "public", "%"), "PROCEDURE_NAME"), List.of());
        expect(strings(metadata.getTableTypes(), "TABLE_TYPE").contains("TABLE"), true);
        expect(strings(metadata.getBestRowIdentifier(null, "public", "lines", DatabaseMetaData.bestRowSession, true),
                "COLUMN_NAME"), List.of("document", "number"));
        strings(metadata.getTablePrivileges(null, "public", "%"), "TABLE_NAME");
        strings(metadata.getUDTs(null, "public", "%", null), "TYPE_NAME");
        strings(metadata.getClientInfoProperties(), "NAME");
        expect(metadata.getSQLKeywords().isEmpty(), false);
    }

    private static void values(Connection connection) throws SQLException {
        UUID id = UUID.randomUUID();
        OffsetDateTime moment = OffsetDateTime.of(2024, 2, 29, 12, 30, 0, 250_000_000, ZoneOffset.UTC);
        try (PreparedStatement insert = connection.prepareStatement(
                "INSERT INTO kinds (id, truth, small, single, twice, exact, bytes, day, moment, document,"
                        + " integers, texts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?::jsonb, ?, ?)")) {
            insert.setObject(1, id);
            insert.setBoolean(2, true);
            insert.setShort(3, (short) -3);
            insert.setFloat(4, 0.5f);
            insert.setDouble(5, 1e300);
            insert.setBigDecimal(6, new BigDecimal("12345678901234567890.0100"));
            insert.setBytes(7, new byte[] {0, -1});
            insert.setObject(8, java.time.LocalDate.of(2024, 2, 29));
            insert.setObject(9, moment);
            insert.setString(10, "{\"a\": 1}");
            insert.setArray(11, connection.createArrayOf("integer", new Integer[] {1, null, 3}));
            insert.setArray(12, connection.createArrayOf("text", new String[] {"a", "b c"}));
            expect(insert.executeUpdate(), 1);
        }
        try (PreparedStatement select = connection.prepareStatement("SELECT * FROM kinds WHERE id = ?")) {
            // After five times the driver prepares it by name, and asks for binary values.
            for (int time = 0; time < 8; time++) {
                select.setObject(1, id);
                ResultSet rows = select.executeQuery();
                expect(rows.next(), true);
                expect(rows.getObject("id"), id);
                expect(rows.getBoolean("truth"), true);
                expect(rows.getShort("small"), (short) -3);
                expect(rows.getFloat("single"), 0.5f);
                expect(rows.getDouble("twice"), 1e300);
                expect(rows.getBigDecimal("exact"), new BigDecimal("12345678901234567890.0100"));
                expect(rows.getBytes("bytes")[1], (byte) -1);
                expect(rows.getObject("day", java.time.LocalDate.class).toString(), "2024-02-29");
                expect(rows.getObject("moment", OffsetDateTime.class), moment);
                expect(rows.getString("document"), "{\"a\": 1}");
                expect(List.of((Object[]) rows.getArray("texts").getArray()), List.of("a", "b c"));
                expect(((Integer[]) rows.getArray("integers").getArray())[2], 3);
                expect(rows.getMetaData().getColumnTypeName(11), "_int4");
                expect(rows.getMetaData().getColumnType(9), Types.TIMESTAMP);
                expect(rows.next(), false);
            }
        }
    }

    private static void batches(Connection connection) throws SQLException {
        try (PreparedStatement insert = connection.prepareStatement(
                "INSERT INTO lines (document, number, text, price) VALUES (?, ?, ?, ?)")) {
            for (int number = 0; number < 1000; number++) {
                insert.setLong(1, number / 100);
                insert.setInt(2, number % 100);
                insert.setString(3, "line " + number);
                insert.setBigDecimal(4, BigDecimal.valueOf(number, 2));
                insert.addBatch();
            }
            expect(insert.executeBatch().length, 1000);
        }
        expect(one(connection, "SELECT count(*) FROM lines"), "1000");
        expect(one(connection, "SELECT sum(price) FROM lines"), "4995.00");
    }

    private static void cursors(Connection connection) throws SQLException {
        connection.setAutoCommit(false);
        try (Statement statement = connection.createStatement()) {
            statement.setFetchSize(37);
            ResultSet rows = statement.executeQuery("SELECT text FROM lines ORDER BY document, number");
            int count = 0;
            while (rows.next()) {
                expect(rows.getString(1), "line " + count++);
            }
            expect(count, 1000);
        }
        connection.commit();
        connection.setAutoCommit(true);
    }

    private static void transactions(Connection connection) throws SQLException {
        connection.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
        expect(connection.getTransactionIsolation(), Connection.TRANSACTION_REPEATABLE_READ);
        connection.setAutoCommit(false);
        try (Statement statement = connection.createStatement()) {
            statement.executeUpdate("UPDATE lines SET text = 'first' WHERE document = 0 AND number = 0");
            var savepoint = connection.setSavepoint();
            statement.executeUpdate("UPDATE lines SET text = 'second' WHERE document = 0 AND number = 1");
            connection.rollback(savepoint);
            connection.commit();
            statement.executeUpdate("DELETE FROM lines");
            connection.rollback();
            try {
                statement.executeUpdate("INSERT INTO lines (document, number, text) VALUES (0, 0, 'again')");
                connection.commit();
                throw new AssertionError("the key exists");
            } catch (SQLException error) {
                expect(error.getSQLState(), "23505");
                connection.rollback();
            }
        }
        connection.setAutoCommit(true);
        expect(one(connection, "SELECT text FROM lines WHERE document = 0 AND number = 0"), "first");
        expect(one(connection, "SELECT text FROM lines WHERE document = 0 AND number = 1"), "line 1");
        expect(one(connection, "SELECT count(*) FROM lines"), "1000");
        expect(connection.isValid(5), true);
        expect(connection.getSchema(), "public");
    }

    private static String one(Connection connection, String query) throws SQLException {
        try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery(query)) {
            expect(rows.next(), true);
            return rows.getString(1);
        }
    }

    private static List<String> strings(ResultSet rows, String column) throws SQLException {
        List<String> found = new ArrayList<>();
        while (rows.next()) {
            found.add(rows.getString(column));
        }
        return found;
    }

    private static void expect(Object given, Object expected) {
        if (!given.equals(expected)) {
            throw new AssertionError(given + " instead of " + expected);
        }
    }
}
