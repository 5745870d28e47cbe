"""The operators and functions that are asked, with the types that they take and give.

A line is `template : argument types -> result`; `$` stands for the arguments in turn. Types that
end in `?` are constants: PostgreSQL takes them, and a random value would mostly be an error.
"""

NUMBERS = ("int2", "int4", "int8", "float4", "float8", "numeric")
INTEGERS = ("int2", "int4", "int8")
COMPARABLE = NUMBERS + (
    "text", "bytea", "date", "timestamp", "timestamptz", "interval", "time", "uuid", "bool",
    "jsonb", "int4[]", "text[]", "int8[]", "float8[]", "bool[]", "numeric[]", "timestamptz[]", "uuid[]",
)
TYPES = COMPARABLE + ("json",)
# What a stream's columns can be.
COLUMNS = (
    "bool", "int2", "int4", "int8", "float4", "float8", "numeric(10,2)", "text", "bytea", "date",
    "timestamp", "timestamptz", "json", "jsonb", "uuid", "interval", "time", "int4[]", "text[]",
    "int8[]", "float8[]", "bool[]", "numeric[]", "timestamptz[]", "uuid[]",
)

# The wider of two numbers is what arithmetic on them gives.
ORDER = {name: at for at, name in enumerate(("int2", "int4", "int8", "numeric", "float4", "float8"))}


def arithmetic(left, right):
    if {left, right} <= {"float4"}:
        return "float4"
    if "float4" in (left, right) or "float8" in (left, right):
        return "float8"
    return max(left, right, key=ORDER.get)


def generated():
    for left in NUMBERS:
        for right in NUMBERS:
            for operator in "+-*/":
                yield f"($ {operator} $)", (left, right), arithmetic(left, right)
            for operator in ("=", "<>", "<", "<=", ">", ">="):
                yield f"($ {operator} $)", (left, right), "bool"
            if "float" not in left + right:
                yield "($ % $)", (left, right), arithmetic(left, right)
                yield "mod($, $)", (left, right), arithmetic(left, right)
    for name in INTEGERS:
        for operator in "&|#":
            yield f"($ {operator} $)", (name, name), name
        yield "(~ $)", (name,), name
    for name in NUMBERS:
        for template in ("(- $)", "abs($)"):
            yield template, (name,), name
    for name in COMPARABLE:
        for operator in ("=", "<>", "<", "<=", ">", ">=", "IS DISTINCT FROM", "IS NOT DISTINCT FROM"):
            yield f"($ {operator} $)", (name, name), "bool"
        yield "($ BETWEEN $ AND $)", (name, name, name), "bool"
        yield "($ IN ($, $))", (name, name, name), "bool"
        yield "($ NOT IN ($, $))", (name, name, name), "bool"
        yield "greatest($, $)", (name, name), name
        yield "least($, $, $)", (name, name, name), name
        yield "nullif($, $)", (name, name), name
        yield "($ = ANY (ARRAY[$, $]))", (name, name, name), "bool"
        yield "($ <> ALL (ARRAY[$, $]))", (name, name, name), "bool"
    for name in TYPES:
        yield "($ IS NULL)", (name,), "bool"
        yield "($ IS NOT NULL)", (name,), "bool"
        yield "coalesce($, $)", (name, name), name
        yield "(CASE WHEN $ THEN $ ELSE $ END)", ("bool", name, name), name
        yield "(CASE WHEN $ THEN $ END)", ("bool", name), name
        yield "pg_typeof($)::text", (name,), "text"
        yield "to_jsonb($)", (name,), "jsonb"
        yield "concat($, $)", (name, "text"), "text"
        yield "format('%s|%s', $, $)", (name, "text"), "text"
        yield "quote_nullable($::text)", (name,), "text"
    for array in TYPES:
        if array.endswith("[]"):
            item = array.removesuffix("[]")
            yield "($ || $)", (array, array), array
            yield "($ || $)", (array, item), array
            yield "($ @> $)", (array, array), "bool"
            yield "($ && $)", (array, array), "bool"
            yield "($ = ANY ($))", (item, array), "bool"
            yield "($ < ALL ($))", (item, array), "bool"
            yield "($)[$]", (array, "small?"), item
            yield "ARRAY[$, $]", (item, item), array
            yield "cardinality($)", (array,), "int4"
            yield "array_append($, $)", (array, item), array
            yield "array_position($, $)", (array, item), "int4"
            yield "array_to_string($, ',')", (array,), "text"
    for left, right, result in (
        ("int2", "int4", "int4"), ("int4", "numeric", "numeric"), ("int8", "float8", "float8"),
        ("numeric", "float8", "float8"), ("date", "timestamp", "timestamp"),
    ):
        yield "coalesce($, $)", (left, right), result
        yield "(CASE WHEN $ THEN $ ELSE $ END)", ("bool", left, right), result
        yield "greatest($, $)", (left, right), result


TABLE = """
($ AND $) : bool bool -> bool
($ OR $) : bool bool -> bool
(NOT $) : bool -> bool
($ IS TRUE) : bool -> bool
($ IS NOT FALSE) : bool -> bool
($ IS UNKNOWN) : bool -> bool
($ << $) : int4 small? -> int4
($ >> $) : int4 small? -> int4
($ << $) : int8 small? -> int8
($ ^ $) : float8 float8 -> float8
($ ^ $) : numeric small? -> numeric
(|/ $) : float8 -> float8
(@ $) : int4 -> int4
round($) : numeric -> numeric
round($) : float8 -> float8
round($, $) : numeric small? -> numeric
trunc($) : numeric -> numeric
trunc($) : float8 -> float8
trunc($, $) : numeric small? -> numeric
ceil($) : numeric -> numeric
ceil($) : float8 -> float8
floor($) : numeric -> numeric
floor($) : float8 -> float8
sign($) : numeric -> numeric
sign($) : float8 -> float8
sqrt($) : float8 -> float8
sqrt($) : numeric -> numeric
cbrt($) : float8 -> float8
exp($) : float8 -> float8
exp($) : smallnumeric? -> numeric
ln($) : float8 -> float8
ln($) : numeric -> numeric
log($) : float8 -> float8
log($) : numeric -> numeric
log($, $) : smallnumeric? smallnumeric? -> numeric
power($, $) : float8 float8 -> float8
power($, $) : smallnumeric? smallnumeric? -> numeric
div($, $) : numeric numeric -> numeric
gcd($, $) : int4 int4 -> int4
lcm($, $) : int4 int4 -> int4
factorial($) : small? -> numeric
degrees($) : float8 -> float8
radians($) : float8 -> float8
sin($) : float8 -> float8
cos($) : float8 -> float8
tan($) : float8 -> float8
atan($) : float8 -> float8
atan2($, $) : float8 float8 -> float8
asin($) : float8 -> float8
pi() : -> float8
scale($) : numeric -> int4
min_scale($) : numeric -> int4
trim_scale($) : numeric -> numeric
width_bucket($, $, $, $) : float8 float8 float8 small? -> int4
width_bucket($, $, $, $) : numeric numeric numeric small? -> int4
($ || $) : text text -> text
($ || $) : text int4 -> text
($ || $) : bool text -> text
($ || $) : text numeric -> text
($ || $) : bytea bytea -> bytea
length($) : text -> int4
char_length($) : text -> int4
octet_length($) : text -> int4
bit_length($) : text -> int4
length($) : bytea -> int4
octet_length($) : bytea -> int4
lower($) : text -> text
upper($) : text -> text
initcap($) : text -> text
reverse($) : text -> text
left($, $) : text small? -> text
right($, $) : text small? -> text
lpad($, $) : text small? -> text
lpad($, $, $) : text small? text -> text
rpad($, $, $) : text small? text -> text
repeat($, $) : text small? -> text
substr($, $) : text small? -> text
substr($, $, $) : text small? small? -> text
substring($ FROM $) : text small? -> text
substring($ FROM $ FOR $) : text small? small? -> text
substring($ FROM $) : text regex? -> text
substring($, $, $) : bytea small? small? -> bytea
position($ IN $) : text text -> int4
strpos($, $) : text text -> int4
overlay($ PLACING $ FROM $) : text text small? -> text
overlay($ PLACING $ FROM $ FOR $) : text text small? small? -> text
trim($) : text -> text
trim(BOTH $ FROM $) : text text -> text
trim(LEADING $ FROM $) : text text -> text
trim(TRAILING $ FROM $) : text text -> text
btrim($, $) : text text -> text
ltrim($, $) : text text -> text
rtrim($, $) : text text -> text
ltrim($) : text -> text
rtrim($) : text -> text
replace($, $, $) : text text text -> text
translate($, $, $) : text text text -> text
split_part($, $, $) : text text small? -> text
starts_with($, $) : text text -> bool
ascii($) : text -> int4
chr($) : positive? -> text
concat_ws($, $, $) : text text int4 -> text
quote_literal($) : text -> text
quote_ident($) : text -> text
md5($) : text -> text
to_hex($) : int4 -> text
to_hex($) : int8 -> text
encode($, 'hex') : bytea -> text
encode($, 'base64') : bytea -> text
encode($, 'escape') : bytea -> text
decode($, 'hex') : text -> bytea
sha256($) : bytea -> bytea
get_byte($, $) : bytea small? -> int4
convert_to($, 'UTF8') : text -> bytea
convert_from($, 'UTF8') : bytea -> text
($ LIKE $) : text pattern? -> bool
($ NOT LIKE $) : text pattern? -> bool
($ ILIKE $) : text pattern? -> bool
($ ~ $) : text regex? -> bool
($ ~* $) : text regex? -> bool
($ !~ $) : text regex? -> bool
($ SIMILAR TO $) : text similar? -> bool
regexp_replace($, $, $) : text regex? text -> text
regexp_replace($, $, $, 'g') : text regex? text -> text
regexp_match($, $) : text regex? -> text[]
regexp_split_to_array($, $) : text regex? -> text[]
regexp_count($, $) : text regex? -> int4
regexp_like($, $) : text regex? -> bool
regexp_substr($, $) : text regex? -> text
regexp_instr($, $) : text regex? -> int4
format('%s %I %L', $, $, $) : text text text -> text
format('%5s|%-5s|', $, $) : text text -> text
string_to_array($, $) : text text -> text[]
array_to_string($, $) : text[] text -> text
array_to_string($, $, $) : int4[] text text -> text
array_length($, 1) : int4[] -> int4
cardinality($) : int4[] -> int4
array_upper($, 1) : text[] -> int4
array_lower($, 1) : text[] -> int4
array_ndims($) : text[] -> int4
array_append($, $) : int4[] int4 -> int4[]
array_prepend($, $) : int4 int4[] -> int4[]
array_cat($, $) : int4[] int4[] -> int4[]
array_remove($, $) : int4[] int4 -> int4[]
array_replace($, $, $) : int4[] int4 int4 -> int4[]
array_position($, $) : int4[] int4 -> int4
array_positions($, $) : text[] text -> int4[]
($ || $) : int4[] int4[] -> int4[]
($ || $) : text[] text -> text[]
($ @> $) : int4[] int4[] -> bool
($ <@ $) : int4[] int4[] -> bool
($ && $) : text[] text[] -> bool
($)[$] : int4[] small? -> int4
($)[$:$] : text[] small? small? -> text[]
ARRAY[$, $] : int4 int4 -> int4[]
ARRAY[$, $] : text text -> text[]
($ + $) : date int4 -> date
($ - $) : date int4 -> date
($ - $) : date date -> int4
($ + $) : date interval -> timestamp
($ - $) : date interval -> timestamp
($ + $) : date time -> timestamp
($ + $) : timestamp interval -> timestamp
($ - $) : timestamp interval -> timestamp
($ - $) : timestamp timestamp -> interval
($ + $) : timestamptz interval -> timestamptz
($ - $) : timestamptz timestamptz -> interval
($ + $) : interval interval -> interval
($ - $) : interval interval -> interval
($ * $) : interval float8 -> interval
($ * $) : interval int4 -> interval
($ / $) : interval float8 -> interval
(- $) : interval -> interval
($ + $) : time interval -> time
($ - $) : time time -> interval
($ < $) : date timestamp -> bool
($ = $) : timestamp timestamptz -> bool
age($, $) : timestamp timestamp -> interval
age($, $) : timestamptz timestamptz -> interval
justify_days($) : interval -> interval
justify_hours($) : interval -> interval
justify_interval($) : interval -> interval
date_trunc($, $) : field? timestamp -> timestamp
date_trunc($, $) : field? timestamptz -> timestamptz
date_trunc($, $) : field? interval -> interval
date_bin($, $, $) : stride? timestamp timestamp -> timestamp
date_part($, $) : part? timestamp -> float8
date_part($, $) : part? interval -> float8
extract(year FROM $) : date -> numeric
extract(month FROM $) : date -> numeric
extract(dow FROM $) : date -> numeric
extract(doy FROM $) : date -> numeric
extract(isodow FROM $) : timestamp -> numeric
extract(week FROM $) : timestamp -> numeric
extract(isoyear FROM $) : timestamp -> numeric
extract(quarter FROM $) : timestamp -> numeric
extract(epoch FROM $) : timestamp -> numeric
extract(epoch FROM $) : timestamptz -> numeric
extract(epoch FROM $) : interval -> numeric
extract(second FROM $) : timestamp -> numeric
extract(milliseconds FROM $) : timestamp -> numeric
extract(microseconds FROM $) : timestamp -> numeric
extract(hour FROM $) : time -> numeric
extract(minute FROM $) : interval -> numeric
extract(day FROM $) : interval -> numeric
extract(century FROM $) : date -> numeric
extract(decade FROM $) : date -> numeric
extract(julian FROM $) : date -> numeric
make_date($, $, $) : year? month? day? -> date
make_timestamp($, $, $, $, $, $) : year? month? day? hour? minute? seconds? -> timestamp
make_time($, $, $) : hour? minute? seconds? -> time
make_interval(years => $, months => $) : small? small? -> interval
make_interval($, $, $, $) : small? small? small? small? -> interval
to_timestamp($) : epoch? -> timestamptz
to_char($, $) : timestamp timeformat? -> text
to_char($, $) : timestamptz timeformat? -> text
to_char($, $) : int4 numberformat? -> text
to_char($, $) : numeric numberformat? -> text
to_char($, $) : float8 numberformat? -> text
to_char($, $) : interval intervalformat? -> text
to_date($, 'YYYY-MM-DD') : datetext? -> date
to_timestamp($, 'YYYY-MM-DD HH24:MI:SS') : timetext? -> timestamptz
to_number($, '999999.99') : numbertext? -> numeric
($ AT TIME ZONE $) : timestamp zone? -> timestamptz
($ AT TIME ZONE $) : timestamptz zone? -> timestamp
timezone($, $) : zone? timestamptz -> timestamp
isfinite($) : timestamp -> bool
($, $) OVERLAPS ($, $) : date date date date -> bool
($ -> $) : json key? -> json
($ ->> $) : json key? -> text
($ -> $) : json index? -> json
($ ->> $) : json index? -> text
($ #> $) : json path? -> json
($ #>> $) : json path? -> text
($ -> $) : jsonb key? -> jsonb
($ ->> $) : jsonb key? -> text
($ -> $) : jsonb index? -> jsonb
($ ->> $) : jsonb index? -> text
($ #> $) : jsonb path? -> jsonb
($ #>> $) : jsonb path? -> text
($ @> $) : jsonb jsonb -> bool
($ <@ $) : jsonb jsonb -> bool
($ ? $) : jsonb key? -> bool
($ ?| $) : jsonb keys? -> bool
($ ?& $) : jsonb keys? -> bool
($ || $) : jsonb jsonb -> jsonb
($ - $) : jsonb key? -> jsonb
($ - $) : jsonb index? -> jsonb
($ #- $) : jsonb path? -> jsonb
($ @? $) : jsonb jsonpath? -> bool
jsonb_path_query_first($, $) : jsonb jsonpath? -> jsonb
jsonb_path_exists($, $) : jsonb jsonpath? -> bool
jsonb_path_query_array($, $) : jsonb jsonpath? -> jsonb
jsonb_typeof($) : jsonb -> text
json_typeof($) : json -> text
jsonb_array_length($) : jsonb -> int4
json_array_length($) : json -> int4
jsonb_extract_path($, $) : jsonb key? -> jsonb
jsonb_extract_path_text($, $) : jsonb key? -> text
jsonb_build_object('a', $, 'b', $) : int4 text -> jsonb
json_build_object('a', $, 'b', $) : numeric text -> json
jsonb_build_array($, $) : timestamp text -> jsonb
json_build_array($, $) : float8 bool -> json
to_json($) : text -> json
to_json($) : int4 -> json
jsonb_set($, $, $) : jsonb path? jsonb -> jsonb
jsonb_insert($, $, $) : jsonb path? jsonb -> jsonb
jsonb_strip_nulls($) : jsonb -> jsonb
jsonb_pretty($) : jsonb -> text
json_strip_nulls($) : json -> json
gen_random_uuid() IS NOT NULL : -> bool
num_nulls($, $) : int4 text -> int4
num_nonnulls($, $) : int4 text -> int4
"""


def table():
    for line in TABLE.strip().splitlines():
        template, types = line.rsplit(" : ", 1)
        arguments, result = types.split("->")
        yield template, tuple(arguments.split()), result.strip()
    yield from generated()


SIGNATURES = list(table())
BY_RESULT = {}
for _signature in SIGNATURES:
    BY_RESULT.setdefault(_signature[2], []).append(_signature)

AGGREGATES = [
    ("count(*)", (), "int8"),
    *((f"count({distinct}$)", (name,), "int8") for name in ("int4", "text", "bool", "date")
      for distinct in ("", "DISTINCT ")),
    *((f"{function}($)", (name,), name) for function in ("min", "max")
      for name in NUMBERS + ("text", "date", "timestamp", "timestamptz", "interval", "time")),
    ("sum($)", ("int2",), "int8"), ("sum($)", ("int4",), "int8"), ("sum($)", ("int8",), "numeric"),
    ("sum($)", ("numeric",), "numeric"), ("sum($)", ("float4",), "float4"),
    ("sum($)", ("float8",), "float8"), ("sum($)", ("interval",), "interval"),
    ("sum(DISTINCT $)", ("int4",), "int8"),
    *(("avg($)", (name,), "float8" if "float" in name else "numeric") for name in NUMBERS),
    ("avg($)", ("interval",), "interval"),
    *((f"{function}($)", ("int4",), "numeric") for function in ("stddev", "var_pop", "variance")),
    *((f"{function}($)", ("float8",), "float8") for function in ("stddev_pop", "var_samp")),
    *((f"{function}($)", ("bool",), "bool") for function in ("bool_and", "bool_or", "every")),
    *((f"{function}($)", ("int4",), "int4") for function in ("bit_and", "bit_or")),
    ("string_agg($, ',' ORDER BY $)", ("text", "int8"), "text"),
    ("array_agg($ ORDER BY $)", ("int4", "int8"), "int4[]"),
    ("json_agg($ ORDER BY $)", ("int4", "int8"), "json"),
    ("jsonb_agg($ ORDER BY $)", ("text", "int8"), "jsonb"),
    ("jsonb_object_agg($, $)", ("notnulltext", "int4"), "jsonb"),
    ("corr($, $)", ("float8", "float8"), "float8"),
    ("percentile_cont(0.5) WITHIN GROUP (ORDER BY $)", ("float8",), "float8"),
    ("percentile_disc(0.5) WITHIN GROUP (ORDER BY $)", ("int4",), "int4"),
    ("mode() WITHIN GROUP (ORDER BY $)", ("int4",), "int4"),
]

WINDOWS = [
    ("row_number()", ()), ("rank()", ()), ("dense_rank()", ()), ("percent_rank()", ()),
    ("cume_dist()", ()), ("ntile(3)", ()), ("lag($)", ("int4",)), ("lag($, 2, 7)", ("int4",)),
    ("lead($)", ("text",)), ("first_value($)", ("int4",)), ("last_value($)", ("text",)),
    ("nth_value($, 2)", ("int4",)), ("count(*)", ()), ("count($)", ("text",)), ("sum($)", ("int4",)),
    ("sum($)", ("numeric",)), ("avg($)", ("int4",)), ("min($)", ("int4",)), ("max($)", ("text",)),
    ("sum($)", ("int8",)), ("avg($)", ("float8",)),
]
