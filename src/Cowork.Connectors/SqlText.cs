using System.Collections.Frozen;

using Cowork.Application;

namespace Cowork.Connectors;

/// <summary>The dialects of SQL that connectors speak.</summary>
enum SqlDialect
{
    Postgres,
    Sqlite,
}

/// <summary>
/// What an SQL text would do, as far as its words tell. Comments, quoted names, strings and dollar quotes are no words. Whatever is not known to be a read is a write: the
/// transaction of the read path is the fence, and this decides whether a person is asked.
/// </summary>
/// <param name="Effect">What it would do.</param>
/// <param name="Statement">The text without the semicolon that ends it.</param>
/// <param name="FirstWord">Upper case; empty: there is no word.</param>
sealed record SqlText(ConnectorEffect Effect, string Statement, string FirstWord)
{
    static readonly FrozenSet<string> Reads = Set("SELECT VALUES TABLE WITH SHOW EXPLAIN");

    static readonly FrozenSet<string> SqliteReads = Set("SELECT VALUES WITH EXPLAIN");

    /// <summary>The last two execute what is not to be seen: a block in a quote, and what a name stands for.</summary>
    static readonly FrozenSet<string> Alters = Set("DROP TRUNCATE ALTER DO EXECUTE");

    /// <summary>A read has none of these words outside of quotes.</summary>
    static readonly FrozenSet<string> Changes = Set(
        "INSERT UPDATE DELETE MERGE INTO REPLACE CREATE DROP TRUNCATE ALTER GRANT REVOKE COPY CALL DO EXECUTE LOCK VACUUM REINDEX CLUSTER REFRESH ATTACH DETACH PRAGMA SHARE "
        + "ANALYZE");

    /// <summary>Words before a parenthesis that call no function.</summary>
    static readonly FrozenSet<string> NoFunctions = Set(
        """
        AND OR NOT IN EXISTS ANY ALL SOME SELECT FROM WHERE ON USING VALUES AS WITH RECURSIVE MATERIALIZED UNION EXCEPT INTERSECT DISTINCT BY HAVING CASE WHEN THEN ELSE JOIN
        LATERAL FILTER OVER WITHIN ROW ARRAY IS BETWEEN LIKE ILIKE GLOB SIMILAR TO LIMIT OFFSET FETCH INTERVAL PARTITION ROWS RANGE GROUPS SETS ROLLUP CUBE COLLATE EXPLAIN
        RETURNING NUMERIC DECIMAL VARCHAR CHAR CHARACTER VARYING BIT TIME TIMESTAMP TIMESTAMPTZ TEXT VARBIT FLOAT ESCAPE ISNULL NOTNULL ONLY
        """);

    /// <summary>Functions that read their arguments and nothing else, and have no effect.</summary>
    static readonly FrozenSet<string> Functions = Set(
        """
        COUNT SUM AVG MIN MAX TOTAL GROUP_CONCAT STRING_AGG ARRAY_AGG JSON_AGG JSONB_AGG JSON_OBJECT_AGG JSONB_OBJECT_AGG JSON_GROUP_ARRAY JSON_GROUP_OBJECT XMLAGG BOOL_AND
        BOOL_OR EVERY BIT_AND BIT_OR STDDEV STDDEV_POP STDDEV_SAMP VARIANCE VAR_POP VAR_SAMP CORR COVAR_POP COVAR_SAMP REGR_SLOPE REGR_INTERCEPT REGR_R2 MODE PERCENTILE_CONT
        PERCENTILE_DISC MEDIAN ROW_NUMBER RANK DENSE_RANK PERCENT_RANK CUME_DIST NTILE LAG LEAD FIRST_VALUE LAST_VALUE NTH_VALUE GROUPING COALESCE NULLIF GREATEST LEAST
        IFNULL IIF CAST TRY_CAST ABS CEIL CEILING FLOOR ROUND TRUNC SIGN SQRT CBRT EXP LN LOG LOG10 LOG2 POWER POW MOD DIV PI DEGREES RADIANS SIN COS TAN ASIN ACOS ATAN
        ATAN2 WIDTH_BUCKET GCD LCM FACTORIAL LENGTH CHAR_LENGTH CHARACTER_LENGTH OCTET_LENGTH BIT_LENGTH LOWER UPPER INITCAP TRIM LTRIM RTRIM BTRIM SUBSTR SUBSTRING LEFT
        RIGHT POSITION STRPOS INSTR REPLACE TRANSLATE REVERSE REPEAT LPAD RPAD CONCAT CONCAT_WS FORMAT PRINTF SPLIT_PART STRING_TO_ARRAY ARRAY_TO_STRING REGEXP_REPLACE
        REGEXP_MATCH REGEXP_MATCHES REGEXP_SPLIT_TO_TABLE REGEXP_SPLIT_TO_ARRAY REGEXP_LIKE REGEXP_COUNT REGEXP_SUBSTR REGEXP_INSTR STARTS_WITH ASCII CHR UNICODE HEX QUOTE
        QUOTE_IDENT QUOTE_LITERAL QUOTE_NULLABLE TO_HEX ENCODE DECODE MD5 SHA224 SHA256 SHA384 SHA512 OVERLAY NORMALIZE TYPEOF PG_TYPEOF NOW DATE TIME DATETIME JULIANDAY
        UNIXEPOCH STRFTIME TIMEDIFF AGE DATE_PART DATE_TRUNC DATE_BIN EXTRACT MAKE_DATE MAKE_TIME MAKE_TIMESTAMP MAKE_TIMESTAMPTZ MAKE_INTERVAL TO_CHAR TO_DATE TO_NUMBER
        TO_TIMESTAMP JUSTIFY_DAYS JUSTIFY_HOURS JUSTIFY_INTERVAL ISFINITE CLOCK_TIMESTAMP STATEMENT_TIMESTAMP TRANSACTION_TIMESTAMP TIMEOFDAY GENERATE_SERIES
        GENERATE_SUBSCRIPTS UNNEST ARRAY_LENGTH ARRAY_UPPER ARRAY_LOWER ARRAY_NDIMS ARRAY_DIMS ARRAY_POSITION ARRAY_POSITIONS ARRAY_APPEND ARRAY_PREPEND ARRAY_CAT
        ARRAY_REMOVE ARRAY_REPLACE CARDINALITY JSON JSONB JSON_ARRAY JSON_OBJECT JSON_EXTRACT JSON_TYPE JSON_VALID JSON_QUOTE JSON_EACH JSON_TREE JSON_ARRAY_LENGTH
        JSONB_ARRAY_LENGTH JSON_BUILD_OBJECT JSONB_BUILD_OBJECT JSON_BUILD_ARRAY JSONB_BUILD_ARRAY JSONB_EXTRACT_PATH JSONB_EXTRACT_PATH_TEXT JSON_EXTRACT_PATH
        JSON_EXTRACT_PATH_TEXT JSONB_ARRAY_ELEMENTS JSONB_ARRAY_ELEMENTS_TEXT JSON_ARRAY_ELEMENTS JSON_ARRAY_ELEMENTS_TEXT JSONB_EACH JSONB_EACH_TEXT JSON_EACH_TEXT
        JSONB_OBJECT_KEYS JSON_OBJECT_KEYS JSONB_TYPEOF JSON_TYPEOF JSONB_PRETTY JSONB_SET JSONB_STRIP_NULLS JSONB_PATH_QUERY JSONB_PATH_EXISTS JSONB_PATH_QUERY_ARRAY
        JSON_VALUE JSON_QUERY JSON_EXISTS TO_JSON TO_JSONB ROW_TO_JSON TO_TSVECTOR TO_TSQUERY PLAINTO_TSQUERY WEBSEARCH_TO_TSQUERY PHRASETO_TSQUERY TS_RANK TS_RANK_CD
        TS_HEADLINE SIMILARITY LOWER_INF UPPER_INF ISEMPTY INT4RANGE INT8RANGE NUMRANGE DATERANGE TSRANGE TSTZRANGE HOST MASKLEN NETWORK FAMILY SOUNDEX LIKELIHOOD LIKELY
        UNLIKELY ZEROBLOB RANDOM CURRENT_DATABASE CURRENT_SCHEMA VERSION SQLITE_VERSION FORMAT_TYPE OBJ_DESCRIPTION COL_DESCRIPTION PG_GET_VIEWDEF HAS_TABLE_PRIVILEGE
        HAS_SCHEMA_PRIVILEGE HAS_COLUMN_PRIVILEGE PG_RELATION_SIZE PG_TOTAL_RELATION_SIZE PG_TABLE_SIZE PG_INDEXES_SIZE PG_DATABASE_SIZE PG_SIZE_PRETTY
        """);

    static FrozenSet<string> Set(string words) => words.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries).ToFrozenSet(StringComparer.Ordinal);

    /// <summary>What a request to a database may do there.</summary>
    public static ConnectorEffect EffectOf(ConnectorRequest request, SqlDialect dialect) => request switch
    {
        ConnectorRequest.Query query => Judge(query.Text, dialect).Effect,
        ConnectorRequest.Write write => Judge(write.Text, dialect).Effect,
        _ => ConnectorEffect.Read,
    };

    public static SqlText Judge(string sql, SqlDialect dialect)
    {
        var words = SqlWords.Of(sql, dialect);
        var end = words.FindIndex(word => word.Text == ";");
        if (end >= 0 && words.FindIndex(end, word => word.Text != ";") >= 0)
        {
            return new(ConnectorEffect.Alter, sql, "");
        }
        var statement = end >= 0 ? sql[..words[end].Start] : sql;
        if (end >= 0)
        {
            words.RemoveRange(end, words.Count - end);
        }
        var first = words.Find(word => word.Text != "(").Text ?? "";
        return new(EffectOf(words, first, dialect), statement, first);
    }

    static ConnectorEffect EffectOf(List<SqlWord> words, string first, SqlDialect dialect)
    {
        if (Alters.Contains(first))
        {
            return ConnectorEffect.Alter;
        }
        if (!(dialect == SqlDialect.Sqlite ? SqliteReads : Reads).Contains(first) || words.Exists(word => word.Kind == SqlWordKind.Broken))
        {
            return ConnectorEffect.Write;
        }
        var (depth, from, bounded) = (0, false, false);
        for (var i = 0; i < words.Count; i++)
        {
            var word = words[i];
            if (word.Kind == SqlWordKind.Sign)
            {
                depth += word.Text == "(" ? 1 : word.Text == ")" ? -1 : 0;
                if (word.Text == "(" && i > 0 && !IsSafeBefore(words, i))
                {
                    return ConnectorEffect.Write;
                }
                continue;
            }
            if (word.Kind != SqlWordKind.Name)
            {
                continue;
            }
            // REPLACE(…) is a function; FOR … begins a lock unless it is part of SUBSTRING(… FOR …).
            var called = i + 1 < words.Count && words[i + 1].Text == "(";
            var isColumn = i > 0 && words[i - 1].Text == ".";
            if (!isColumn && ((Changes.Contains(word.Text) && !(word.Text == "REPLACE" && called)) || (word.Text == "FOR" && depth == 0)))
            {
                return ConnectorEffect.Write;
            }
            from |= word.Text is "FROM" or "TABLE";
            bounded |= depth == 0 && word.Text is "WHERE" or "LIMIT" or "FETCH";
        }
        return from && !bounded && first is not ("EXPLAIN" or "SHOW") ? ConnectorEffect.Scan : ConnectorEffect.Read;
    }

    /// <summary>What stands before an opening parenthesis calls nothing, or a function that is known.</summary>
    static bool IsSafeBefore(List<SqlWord> words, int parenthesis)
    {
        var before = words[parenthesis - 1];
        if (before.Kind is SqlWordKind.Sign or SqlWordKind.Text or SqlWordKind.Number)
        {
            return true;
        }
        if (parenthesis > 1 && words[parenthesis - 2].Text == ".")
        {
            return parenthesis > 2 && words[parenthesis - 3].Text == "PG_CATALOG" && Functions.Contains(before.Text);
        }
        // A name after AS, WITH or a comma before AS is that of a table with its columns: WITH t (a, b) AS ….
        return before.Kind == SqlWordKind.Name && (NoFunctions.Contains(before.Text) || Functions.Contains(before.Text))
            || (parenthesis > 1 && words[parenthesis - 2].Text is "AS" or "WITH" or "RECURSIVE");
    }
}

enum SqlWordKind
{
    /// <summary>An unquoted name or key word.</summary>
    Name,
    QuotedName,
    Text,
    Number,
    Sign,

    /// <summary>A quote or comment without an end.</summary>
    Broken,
}

/// <param name="Text">Of an unquoted name in upper case; of a quoted one or a text, nothing of what is in it.</param>
/// <param name="Start">Index of its first character.</param>
readonly record struct SqlWord(SqlWordKind Kind, string Text, int Start);

/// <summary>Takes an SQL text apart, as far as to tell words from what is quoted or commented out.</summary>
static class SqlWords
{
    public static List<SqlWord> Of(string sql, SqlDialect dialect)
    {
        var words = new List<SqlWord>();
        for (var at = 0; at < sql.Length;)
        {
            var (start, c) = (at, sql[at]);
            var next = at + 1 < sql.Length ? sql[at + 1] : '\0';
            if (char.IsWhiteSpace(c))
            {
                at++;
            }
            else if (c == '-' && next == '-')
            {
                var end = sql.AsSpan(at).IndexOfAny('\n', '\r');
                at = end < 0 ? sql.Length : at + end;
            }
            else if (c == '/' && next == '*')
            {
                at = EndOfComment(sql, at, isNested: dialect == SqlDialect.Postgres);
                if (at < 0)
                {
                    words.Add(new(SqlWordKind.Broken, "", start));
                    return words;
                }
            }
            else if (c == '\'')
            {
                var before = words.Count > 0 ? words[^1] : default;
                // E'it\'s': the letter stands at the quote.
                var escapes = dialect == SqlDialect.Postgres && before is { Kind: SqlWordKind.Name, Text: "E" } && before.Start == start - 1;
                Quoted('\'', escapes, SqlWordKind.Text);
            }
            else if (c == '"')
            {
                Quoted('"', false, SqlWordKind.QuotedName);
            }
            else if (dialect == SqlDialect.Sqlite && c is '`' or '[')
            {
                Quoted(c == '[' ? ']' : '`', false, SqlWordKind.QuotedName);
            }
            else if (dialect == SqlDialect.Postgres && c == '$' && (next == '$' || char.IsLetter(next) || next == '_'))
            {
                var tag = sql.IndexOf('$', at + 1);
                var end = tag < 0 ? -1 : sql.IndexOf(sql[at..(tag + 1)], tag + 1, StringComparison.Ordinal);
                if (end < 0)
                {
                    words.Add(new(SqlWordKind.Broken, "", start));
                    return words;
                }
                at = end + tag + 1 - start;
                words.Add(new(SqlWordKind.Text, "", start));
            }
            else if (char.IsLetter(c) || c == '_')
            {
                while (at < sql.Length && (char.IsLetterOrDigit(sql[at]) || sql[at] is '_' or '$'))
                {
                    at++;
                }
                words.Add(new(SqlWordKind.Name, sql[start..at].ToUpperInvariant(), start));
            }
            else if (char.IsAsciiDigit(c))
            {
                while (at < sql.Length && (char.IsLetterOrDigit(sql[at]) || sql[at] is '.' or '_'))
                {
                    at++;
                }
                words.Add(new(SqlWordKind.Number, "", start));
            }
            else
            {
                at++;
                words.Add(new(SqlWordKind.Sign, c.ToString(), start));
            }

            void Quoted(char quote, bool escapes, SqlWordKind kind)
            {
                for (at++; at < sql.Length; at++)
                {
                    if (escapes && sql[at] == '\\')
                    {
                        at++;
                    }
                    else if (sql[at] == quote)
                    {
                        if (at + 1 < sql.Length && sql[at + 1] == quote && quote != ']')
                        {
                            at++;
                            continue;
                        }
                        at++;
                        words.Add(new(kind, "", start));
                        return;
                    }
                }
                words.Add(new(SqlWordKind.Broken, "", start));
            }
        }
        return words;
    }

    /// <summary>Negative: it has none.</summary>
    static int EndOfComment(string sql, int start, bool isNested)
    {
        var depth = 1;
        for (var at = start + 2; at + 1 < sql.Length; at++)
        {
            if (sql[at] == '*' && sql[at + 1] == '/')
            {
                at++;
                if (--depth == 0)
                {
                    return at + 1;
                }
            }
            else if (isNested && sql[at] == '/' && sql[at + 1] == '*')
            {
                at++;
                depth++;
            }
        }
        return -1;
    }
}
