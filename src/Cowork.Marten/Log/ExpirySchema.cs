using Cowork.Domain;

namespace Cowork.Marten;

/// <summary>
/// The one way in which data leaves the log: a tombstone takes its place, where an event that names it says so. The trigger checks that for each row, whoever changes it; the
/// function lends the hosts' role the right to try.
/// </summary>
static class ExpirySchema
{
    /// <summary>No tombstone may stand where the caller wants one.</summary>
    public const string Refused = "CW004";

    /// <summary>Digests of blobs that removed events named, until somebody has found out whether other events do.</summary>
    public const string Blobs = "expired_blobs";

    /// <summary>Set within a transaction in which the trigger of statements lets updates through, for the trigger of rows to judge.</summary>
    public const string Setting = "cowork.expiry";

    /// <summary>What is removed is at least so old, by the database's clock.</summary>
    const string Youngest = "1 day";

    /// <summary>Stored names of the events by which data expires, with the aggregate of their streams.</summary>
    public static IReadOnlyList<(string Type, string Aggregate)> Authorities { get; } =
    [
        .. Of<SessionEvent.SessionExpired>(Session.Aggregate.Name), .. Of<SecurityEvent.SecurityExpired>(SecurityDay.Aggregate.Name),
        .. Of<HostEvent.HostsExpired>(HostDay.Aggregate.Name),
    ];

    /// <summary>Stored names of the events that say that the data is gone.</summary>
    public static IReadOnlyList<string> Removals { get; } =
        [.. new[] { typeof(SessionEvent.SessionRemoved), typeof(SecurityEvent.SecurityRemoved), typeof(HostEvent.HostsRemoved) }.SelectMany(EventTypes.NamesOf)];

    /// <summary>True: data expires by an event of the type, or it says that the data is gone.</summary>
    public static bool IsExpiry(string type) => Expiries.Contains(type);

    static readonly HashSet<string> Expiries = [.. Removals, .. Authorities.Select(a => a.Type)];

    static IEnumerable<(string, string)> Of<TEvent>(string aggregate)
        where TEvent : Event => EventTypes.NamesOf(typeof(TEvent)).Select(name => (name, aggregate));

    static string Words(IEnumerable<string> words) => string.Join(", ", words.Select(word => $"'{word}'"));

    /// <summary>True for streams that are a session's own.</summary>
    /// <param name="stream">The column.</param>
    public static string IsOfSession(string stream) => $"split_part({stream}, '-', 1) IN ({Words(ExpiredEvents.Aggregates)})";

    /// <param name="operators">The tenant that has the signed heads.</param>
    public static string Sql(string s, string operators) => $"""
        CREATE TABLE IF NOT EXISTS {s}.{Blobs} (
            tenant_id text NOT NULL,
            sha256 text NOT NULL,
            withdrawn timestamptz,
            PRIMARY KEY (tenant_id, sha256)
        );
        -- Nothing is ever updated here but what expired. Its old versions have the data until they are vacuumed.
        ALTER TABLE {s}.mt_events SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

        CREATE OR REPLACE FUNCTION {s}.keep_expired() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
        DECLARE
            stone jsonb := NEW.data->'tombstone';
            expiry bigint;
            authority record;
            feed bigint;
            why text;
        BEGIN
            IF current_setting('{Setting}', true) IS DISTINCT FROM 'on'
                AND EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = TG_RELID AND t.tgname = 'keep_log' AND t.tgenabled = 'D') THEN
                -- A person has disabled the trigger of statements by hand. Otherwise the setting alone lets nothing by: a statement may take it back in the middle.
                RETURN NEW;
            END IF;
            IF (to_jsonb(NEW) - 'data') IS DISTINCT FROM (to_jsonb(OLD) - 'data') THEN
                why := 'only the data of an event expires';
            ELSIF OLD.data ? 'tombstone' THEN
                why := 'the event has expired already';
            ELSIF jsonb_typeof(NEW.data) IS DISTINCT FROM 'object' OR jsonb_typeof(stone) IS DISTINCT FROM 'object'
                OR (SELECT count(*) FROM jsonb_object_keys(NEW.data)) <> 1 OR NOT stone ? 'by'
                OR EXISTS (SELECT FROM jsonb_each(stone) m WHERE m.key NOT IN ('by', 'bytes', 'blobs', 'input_tokens', 'output_tokens', 'cost_micro_usd', 'counterfactual')
                    OR jsonb_typeof(m.value) <> 'number' OR m.value::text !~ '^[0-9]{"{1,18}"}$') THEN
                why := 'it is no tombstone';
            ELSIF EXISTS (SELECT FROM jsonb_each_text(stone) m WHERE m.key IN ('input_tokens', 'output_tokens', 'cost_micro_usd')
                    AND m.value::bigint IS DISTINCT FROM coalesce((OLD.data->>m.key)::bigint, (OLD.data->'usage'->>m.key)::bigint)) THEN
                why := 'the event has used other tokens';
            ELSIF stone ? 'counterfactual' AND (stone->>'counterfactual' <> '1' OR NOT OLD.data ? 'counterfactual') THEN
                why := 'the run was no counterfactual one';
            ELSIF OLD.timestamp > clock_timestamp() - interval '{Youngest}' THEN
                why := 'the event is too young';
            ELSE
                expiry := (stone->>'by')::bigint;
                SELECT e.type, e.tenant_id, e.stream_id, e.version, (e.data->'expired'->>'through')::bigint AS through, e.headers->>'session' AS session, f.feed_id
                    INTO authority FROM {s}.mt_events e
                    LEFT JOIN {s}.feed f ON f.tenant_id = e.tenant_id AND f.session_id = e.headers->>'session' AND f.gid = e.seq_id
                    WHERE e.seq_id = expiry AND e.seq_id > OLD.seq_id;
                IF NOT FOUND OR authority.tenant_id <> OLD.tenant_id OR authority.through IS NULL THEN
                    why := 'no later event of the tenant lets it expire';
                ELSIF expiry > coalesce((SELECT (h.data->>'tree_size')::bigint FROM {s}.mt_events h
                        WHERE h.tenant_id = '{operators}' AND h.stream_id = '{AuditHeads.Stream}' ORDER BY h.version DESC LIMIT 1), 0) THEN
                    why := 'no signed head has the event that lets it expire';
                ELSIF authority.type IN ({Words(Authorities.Where(a => a.Aggregate == Session.Aggregate.Name).Select(a => a.Type))}) THEN
                    SELECT f.feed_id INTO feed FROM {s}.feed f
                        WHERE f.tenant_id = OLD.tenant_id AND f.session_id = authority.session AND f.gid = OLD.seq_id;
                    IF authority.stream_id <> 'session-' || authority.session OR OLD.headers->>'session' IS DISTINCT FROM authority.session OR feed IS NULL
                        OR feed > authority.through OR feed >= authority.feed_id OR NOT {IsOfSession("OLD.stream_id")} THEN
                        why := 'the session''s expiry does not name it';
                    END IF;
                ELSIF ({string.Join(" OR ", Authorities.Where(a => a.Aggregate != Session.Aggregate.Name)
                    .Select(a => $"(authority.type = '{a.Type}' AND split_part(authority.stream_id, '-', 1) = '{a.Aggregate}')"))}) THEN
                    IF OLD.stream_id <> authority.stream_id OR OLD.version > authority.through OR OLD.version >= authority.version THEN
                        why := 'the day''s expiry does not name it';
                    END IF;
                ELSE
                    why := 'no later event of the tenant lets it expire';
                END IF;
            END IF;
            IF why IS NOT NULL THEN
                RAISE EXCEPTION 'The log is append-only: event % keeps its data, because %.', OLD.seq_id, why USING ERRCODE = '{Refused}';
            END IF;
            RETURN NEW;
        END
        $body$;
        DROP TRIGGER IF EXISTS keep_expired ON {s}.mt_events;
        CREATE TRIGGER keep_expired BEFORE UPDATE ON {s}.mt_events FOR EACH ROW EXECUTE FUNCTION {s}.keep_expired();
        ALTER TABLE {s}.mt_events ENABLE ALWAYS TRIGGER keep_expired;

        -- Puts tombstones in place of data, of one tenant: all of them or none.
        CREATE OR REPLACE FUNCTION {s}.expire_events(tenant text, gids bigint[], stones jsonb[]) RETURNS bigint
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
        DECLARE
            touched bigint;
        BEGIN
            IF coalesce(current_setting('cowork.tenant', true), '') NOT IN (tenant, '{ScopedConnection.Everyone}') THEN
                RAISE EXCEPTION 'the tenant is another one' USING ERRCODE = '{Refused}';
            END IF;
            PERFORM set_config('{Setting}', 'on', true);
            UPDATE {s}.mt_events e SET data = n.stone FROM unnest(gids, stones) n (gid, stone) WHERE e.seq_id = n.gid AND e.tenant_id = tenant;
            GET DIAGNOSTICS touched = ROW_COUNT;
            PERFORM set_config('{Setting}', '', true);
            IF touched <> cardinality(gids) OR cardinality(gids) <> cardinality(stones) THEN
                RAISE EXCEPTION 'an event is not there' USING ERRCODE = '{Refused}';
            END IF;
            RETURN touched;
        END
        $body$;
        REVOKE ALL ON FUNCTION {s}.expire_events(text, bigint[], jsonb[]) FROM PUBLIC;

        """;

    public static string Grant(string s, string role) => $"GRANT EXECUTE ON FUNCTION {s}.expire_events(text, bigint[], jsonb[]) TO {role};\n";
}
