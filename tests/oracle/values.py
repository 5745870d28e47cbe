"""Literals: ordinary ones, and those at the edges."""

PLAIN = {
    "bool": ("true", "false"),
    "int2": ("0", "1", "-1", "7", "32767", "-32768", "100"),
    "int4": ("0", "1", "-1", "2", "42", "2147483647", "-2147483648", "100000"),
    "int8": ("0", "1", "-1", "3", "9223372036854775807", "-9223372036854775808", "4294967296"),
    "float4": ("0", "1.5", "-2.25", "3.4e38", "1e-40", "NaN", "Infinity", "-Infinity", "0.1", "1e6"),
    "float8": ("0", "-0", "1.5", "-2.25", "1e308", "1e-310", "NaN", "Infinity", "-Infinity", "0.1",
               "123456.789", "1e15", "1e16", "2.5", "3.5"),
    "numeric": ("0", "0.00", "1", "1.5", "-2.25", "2.5", "-0.5", "123.456", "0.001", "-1234567.891",
                "99999999999999999999", "1e-20", "NaN", "1.10", "1000000"),
    "text": ("", "a", "abc", "ABC", "héllo wörld", " padded ", "a,b,c", "x%y_z", "12", "3.5", "true",
             "日本語", "It''s", "2020-02-29", "line\nfeed", "aXbXc", "foobarbaz", "The quick brown fox",
             "\\x41"),
    "bytea": ("\\x", "\\x00ff", "\\x616263", "\\xdeadbeef", "\\x41"),
    "date": ("2020-02-29", "1970-01-01", "1999-12-31", "2024-06-15", "0001-01-01", "9999-12-31",
             "1969-07-20", "infinity", "2001-02-16"),
    "timestamp": ("2020-02-29 12:34:56.789", "1970-01-01 00:00:00", "1999-12-31 23:59:59.999999",
                  "2024-01-31 10:00:00", "1000-01-01 00:00:00", "9999-12-31 23:59:59",
                  "2001-02-16 20:38:40", "-infinity", "1969-12-31 23:59:59.5"),
    "timestamptz": ("2020-02-29 12:34:56.789+00", "1970-01-01 00:00:00+02", "2024-07-01 10:00:00Z",
                    "1999-12-31 23:59:59.999999-08", "2024-03-31 01:30:00+00"),
    "interval": ("1 day", "-1 day", "1 month 2 days 03:04:05.678", "1 year", "00:00:00", "25:00:00",
                 "-00:00:01.5", "1 mon -1 day", "P1Y2M3DT4H5M6S", "30 days", "100 hours"),
    "time": ("00:00:00", "12:34:56.789", "23:59:59.999999", "24:00:00"),
    "uuid": ("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "00000000-0000-0000-0000-000000000000",
             "A0EEBC999C0B4EF8BB6D6BB9BD380A12"),
    "json": ('{"a": 1, "b": "x"}', "[1, 2.50, \"s\", null, true]", "null", '"str"', "1.10", "{}", "[]",
             '{"b":2,"a":{"c":[1,2]}}', '{"a":1,"a":2}'),
    "jsonb": ('{"a": 1, "b": "x"}', '[1, 2.50, "s", null, true]', "null", '"str"', "1.10", "{}", "[]",
              '{"b":2,"a":{"c":[1,2]}}', '{"bb":1,"a":2,"c":null}', "true"),
    "int4[]": ("{}", "{1,2,3}", "{NULL,1}", "{5}", "{3,2,1,3}"),
    "int8[]": ("{}", "{1,9223372036854775807}", "{NULL}"),
    "float8[]": ("{}", "{0.5,-2,NaN}", "{1e300,NULL}", "{Infinity}"),
    "bool[]": ("{}", "{t,f,NULL}", "{t}"),
    "numeric[]": ("{}", "{1.50,NULL}", "{100000000000000000000.1,-2}", "{1.5}"),
    "timestamptz[]": ("{}", '{"2020-02-29 12:34:56.789+00",NULL}'),
    "uuid[]": ("{}", "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11,NULL}"),
    "text[]": ("{}", "{a,b}", '{"a b",NULL,""}', '{"q\\"uote",c}', "{a,a}"),
}

# Text of other kinds that a cast from text may meet.
BROKEN = ("", " ", "abc", "1", " 1 ", "1.5", "1e3", "-", "+5", "99999999999999999999", "32768", "t",
          "yes", "of", "NaN", "inf", "-Infinity", "0x10", "1_000", "2020-13-01", "2020-02-30",
          "2020-2-3", "20200203", "Feb 3 2020", "2020-02-03 25:00", "2020-02-03T04:05:06Z",
          "12:34", "12:60", "1 day", "1 foo", "{1,2}", "{1", "[1]", '{"a":}', "\\xZZ", "null",
          "epoch", "now()", "10:00 PM", "1.5 hours", "a0eebc99", "infinity", "2020-02-03 04:05:06+02",
          "2020-02-03 04:05:06 Europe/Berlin", "1 1", "--1", ".5", "5.", "1e400", "1e-400")

CONSTANTS = {
    "small?": ("0", "1", "2", "3", "-1", "5", "-2"),
    "positive?": ("65", "97", "233", "8364"),
    "smallnumeric?": ("0.5", "1.5", "2", "-1", "10.00", "3.7", "0"),
    "pattern?": ("'a%'", "'%b_'", "'%'", "'_'", "'x\\%y%'", "'A%'", "''", "'%o%'"),
    "regex?": ("'a'", "'^[a-z]+$'", "'(o)(b)'", "'\\d+'", "'b*'", "'X'", "'[[:alpha:]]+'", "'('", "'a|b'",
               "'(?:o)(.)'", "'\\s'", "'.*?b'"),
    "similar?": ("'a%'", "'(a|b)%'", "'_+'", "'%(b|d)%'"),
    "field?": ("'year'", "'month'", "'day'", "'hour'", "'minute'", "'second'", "'week'", "'quarter'",
               "'decade'", "'century'", "'milliseconds'", "'millennium'", "'nonsense'"),
    "part?": ("'year'", "'month'", "'day'", "'hour'", "'minute'", "'second'", "'epoch'", "'milliseconds'",
              "'decade'", "'quarter'", "'microseconds'"),
    "stride?": ("interval '15 minutes'", "interval '1 day'", "interval '7 hours'"),
    "year?": ("2020", "1999", "0", "10000", "-44"),
    "month?": ("1", "2", "12", "13"),
    "day?": ("1", "28", "29", "31", "0"),
    "hour?": ("0", "12", "23", "24", "25"),
    "minute?": ("0", "30", "59", "60"),
    "seconds?": ("0", "12.5", "59.999999", "60", "61"),
    "epoch?": ("0", "1e9", "1700000000.123456", "-1.5", "1e18"),
    "timeformat?": ("'YYYY-MM-DD HH24:MI:SS'", "'FMDay, DD Mon YYYY'", "'HH12:MI AM'", "'YY/MM/DD'",
                    "'US MS'", "'IYYY-IW-ID'", "'DDD Q WW'", "'Month|month|MON'", "'\"text\" YYYY'",
                    "'FMMM/FMDD'", "'DDth'", "'TZ'", "'SSSS J CC'"),
    "numberformat?": ("'999'", "'9999.99'", "'000.0'", "'FM999990.00'", "'S999'", "'9,999,999'", "'999PR'",
                      "'9.9EEEE'", "'FM9EEEE'", "'L99'", "'MI999'", "'RN'", "'FMrn'", "'99V9'"),
    "intervalformat?": ("'HH24:MI:SS'", "'DD HH MI'", "'YYYY MM'"),
    "datetext?": ("'2020-02-29'", "'2020-13-01'", "'abc'", "'2020-2-3'", "''"),
    "timetext?": ("'2020-02-29 12:34:56'", "'2020-02-29'", "'2020-02-29 25:00:00'"),
    "numbertext?": ("'12.34'", "'-5'", "'1234'", "'x'"),
    "zone?": ("'UTC'", "'Europe/Berlin'", "'America/New_York'", "'+02'", "'Nowhere/Land'", "'PST'"),
    "key?": ("'a'", "'b'", "'zz'"),
    "keys?": ("ARRAY['a','zz']", "'{a,b}'::text[]"),
    "index?": ("0", "1", "-1", "9"),
    "path?": ("'{a}'", "'{a,c}'", "'{a,c,1}'", "'{0}'", "'{zz,1}'", "'{}'"),
    "jsonpath?": ("'$.a'", "'$[*]'", "'$.a.c[1]'", "'$[*] ? (@ > 1)'", "'strict $.zz'", "'$.*'", "'$.a.c.size()'",
                  "'$[0]'", "'$.**'", "'$.b.type()'", "'$.a + 1'", "'exists($.a)'", "'$.'",
                  "'$.* ? (@ like_regex \"^X\" flag \"i\")'"),
}


def quoted(value):
    return "'" + value.replace("'", "''") + "'" if "''" not in value else "'" + value + "'"


def literal(rng, name):
    """A literal of this type that says its type."""
    value = rng.choice(PLAIN[name])
    bare = value.lstrip("-").replace(".", "").isdigit() and "e" not in value
    if name == "int4" and bare and value != "-2147483648" and rng.random() < 0.7:
        return f"({value})" if value.startswith("-") else value
    if name == "numeric" and bare and "." in value and rng.random() < 0.7:
        return f"({value})" if value.startswith("-") else value
    if name == "text" and rng.random() < 0.3 and "\\" not in value:
        return quoted(value)
    if name == "bool":
        return value
    if rng.random() < 0.2 and not name.endswith("[]"):
        return f"CAST({quoted(value)} AS {name})"
    return f"{quoted(value)}::{name}"
