using Cowork.Application;
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

    /// <summary>What is removed is at least so old, by the database's clock. So long a legal hold must have ended.</summary>
    const string Youngest = "1 day";

    /// <summary>So long an expiry is in the log before anything is removed: time for hosts to sign a head over it, and for witnesses to look.</summary>
    const string Wait = "10 minutes";

    /// <summary>When the few events that removal rests on came into the log, by the database's clock. Hosts write the times in events, and nothing here.</summary>
    public const string Times = "expiry_times";

    /// <summary>One row: how long an expiry waits, and the position up to which events were there before <see cref="Times"/> was, and count by their own time.</summary>
    public const string Rules = "expiry_rules";

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

    static string Held => Names<SessionEvent.SessionHeld>();

    static string Released => Names<SessionEvent.SessionReleased>();

    static string Names<TEvent>()
        where TEvent : Event => Words(EventTypes.NamesOf(typeof(TEvent)));

    /// <summary>The tokens that an event counts for, of the row <c>OLD</c>: what its tombstone must have, and no other one (<see cref="Tombstones.Of"/>).</summary>
    static string Used(string member) => $"""
        CASE WHEN OLD.type IN ({Names<RunEvent.LlmResponse>()}) AND OLD.data->>'source' IS NULL THEN coalesce((OLD.data->>{member})::bigint, 0)
            WHEN OLD.type IN ({Names<RunEvent.ModelRetried>()}, {Names<RunEvent.RunFailed>()}) THEN coalesce((OLD.data->'usage'->>{member})::bigint, 0) ELSE 0 END
        """;

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

        CREATE TABLE IF NOT EXISTS {s}.{Times} (seq_id bigint PRIMARY KEY, at timestamptz NOT NULL);
        CREATE OR REPLACE FUNCTION {s}.note_expiry() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
        BEGIN
            INSERT INTO {s}.{Times} VALUES (NEW.seq_id, clock_timestamp()) ON CONFLICT (seq_id) DO UPDATE SET at = excluded.at;
            RETURN NULL;
        END
        $body$;
        REVOKE ALL ON FUNCTION {s}.note_expiry() FROM PUBLIC;
        DROP TRIGGER IF EXISTS note_expiry ON {s}.mt_events;
        CREATE TRIGGER note_expiry AFTER INSERT ON {s}.mt_events FOR EACH ROW WHEN (NEW.type IN ({Released}, {Words(Authorities.Select(a => a.Type))}))
            EXECUTE FUNCTION {s}.note_expiry();
        ALTER TABLE {s}.mt_events ENABLE ALWAYS TRIGGER note_expiry;
        -- The trigger is there first, and nobody writes until this is committed: no event is on neither side.
        CREATE TABLE IF NOT EXISTS {s}.{Rules} (wait interval NOT NULL, since bigint NOT NULL);
        INSERT INTO {s}.{Rules} SELECT interval '{Wait}', coalesce((SELECT max(seq_id) FROM {s}.mt_events), 0) WHERE NOT EXISTS (SELECT FROM {s}.{Rules});

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
            ELSIF EXISTS (SELECT FROM unnest(ARRAY['input_tokens', 'output_tokens', 'cost_micro_usd']) m
                    WHERE coalesce((stone->>m)::bigint, 0) IS DISTINCT FROM {Used("m")}) THEN
                why := 'the event has used other tokens';
            ELSIF stone->>'counterfactual' <> '1' OR (stone ? 'counterfactual') IS DISTINCT FROM
                    (OLD.type IN ({Names<RunEvent.RunCreated>()}) AND coalesce(jsonb_typeof(OLD.data->'counterfactual'), 'null') <> 'null') THEN
                why := 'only a counterfactual run is one, and always';
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

        CREATE OR REPLACE FUNCTION {s}.of_base64url(part text) RETURNS bytea LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $body$
            SELECT decode(translate(part, '-_', '+/') || repeat('=', (4 - length(part) % 4) % 4), 'base64')
        $body$;

        -- The root of the tree over the first events, from the stored tiles (MerkleTiles); null: a tile is missing.
        CREATE OR REPLACE FUNCTION {s}.tree_root(size bigint) RETURNS bytea LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $body$
        DECLARE
            nodes bigint := size;
            depth integer := 0;
            rest integer;
            span integer;
            tile bytea;
            subtree bytea[];
            root bytea;
        BEGIN
            WHILE nodes > 0 LOOP
                rest := (nodes % 32)::integer;
                IF rest > 0 THEN
                    tile := (SELECT t.hashes FROM {s}.merkle_tiles t WHERE t.level = depth AND t.number = nodes / 32);
                    IF length(tile) < rest * 32 IS NOT FALSE THEN
                        RETURN NULL;
                    END IF;
                    -- Complete subtrees, from the right: each is the left side of what is there.
                    span := 1;
                    WHILE rest > 0 LOOP
                        IF rest & span <> 0 THEN
                            rest := rest - span;
                            subtree := ARRAY(SELECT substr(tile, (rest + i) * 32 + 1, 32) FROM generate_series(0, span - 1) i ORDER BY i);
                            WHILE cardinality(subtree) > 1 LOOP
                                subtree := ARRAY(
                                    SELECT sha256('\x01'::bytea || subtree[2 * i - 1] || subtree[2 * i]) FROM generate_series(1, cardinality(subtree) / 2) i ORDER BY i);
                            END LOOP;
                            root := coalesce(sha256('\x01'::bytea || subtree[1] || root), subtree[1]);
                        END IF;
                        span := span * 2;
                    END LOOP;
                END IF;
                nodes := nodes / 32;
                depth := depth + 1;
            END LOOP;
            RETURN root;
        END
        $body$;

        -- Why the last signed head proves nothing; null: all but the signature itself is as a host makes it. PostgreSQL knows no ES256: hosts and witnesses check that.
        CREATE OR REPLACE FUNCTION {s}.why_no_head(expiry bigint) RETURNS text LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $body$
        DECLARE
            head record;
            size bigint;
            jws text[];
            signed jsonb;
            said jsonb;
        BEGIN
            SELECT h.seq_id, h.version, h.type, h.data INTO head FROM {s}.mt_events h
                WHERE h.tenant_id = '{operators}' AND h.stream_id = '{AuditHeads.Stream}' ORDER BY h.version DESC LIMIT 1;
            size := (head.data->>'tree_size')::bigint;
            IF size IS NULL OR size < expiry THEN
                RETURN 'no signed head has the event that lets it expire';
            END IF;
            IF head.type NOT IN ({Names<AuditHeadsEvent.HeadSigned>()})
                OR size >= head.seq_id OR size > (SELECT p.last_seq_id FROM {s}.mt_event_progression p WHERE p.name = '{MerkleStore.ProgressName}') IS NOT FALSE
                OR head.version IS DISTINCT FROM (SELECT m.version FROM {s}.mt_streams m WHERE m.tenant_id = '{operators}' AND m.id = '{AuditHeads.Stream}')
                OR (head.version > 1 AND size > (SELECT (h.data->>'tree_size')::bigint FROM {s}.mt_events h
                    WHERE h.tenant_id = '{operators}' AND h.stream_id = '{AuditHeads.Stream}' AND h.version = head.version - 1) IS NOT TRUE)
                OR encode({s}.tree_root(size), 'hex') IS DISTINCT FROM head.data->>'root_hash' THEN
                RETURN 'the last signed head is not one of this log';
            END IF;
            jws := string_to_array(head.data->>'signature', '.');
            IF cardinality(jws) = 3 IS NOT TRUE OR octet_length({s}.of_base64url(jws[3])) <> 64 THEN
                RETURN 'the last head is not signed';
            END IF;
            signed := convert_from({s}.of_base64url(jws[1]), 'UTF8')::jsonb;
            said := convert_from({s}.of_base64url(jws[2]), 'UTF8')::jsonb;
            IF signed->>'alg' IS DISTINCT FROM 'ES256' OR signed->>'typ' IS DISTINCT FROM '{HeadText.Typ}' OR signed->'kid' IS DISTINCT FROM head.data->'kid'
                OR said IS DISTINCT FROM jsonb_build_object('root_hash', head.data->'root_hash', 'timestamp', head.data->'timestamp', 'tree_size', head.data->'tree_size')
                OR NOT EXISTS (SELECT FROM {s}.mt_events k WHERE k.tenant_id = '{operators}' AND k.stream_id = '{SigningKeys.Aggregate.Stream(SigningKeys.Key)}'
                    AND k.seq_id < head.seq_id AND k.data->'key'->'kid' = head.data->'kid' AND k.data->'key'->>'purpose' = '{SigningKeys.Heads}') THEN
                RETURN 'the last head is not signed';
            END IF;
            RETURN NULL;
        EXCEPTION WHEN data_exception THEN
            RETURN 'the last head is not signed';
        END
        $body$;

        -- Why an event lets nothing expire, or not yet; null: what it names may be removed. It judges what holds for all that one names, and keep_expired each of them.
        CREATE OR REPLACE FUNCTION {s}.why_kept(tenant text, expiry bigint) RETURNS text
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
        DECLARE
            rules record;
            authority record;
            hold record;
        BEGIN
            IF coalesce(current_setting('cowork.tenant', true), '') NOT IN (tenant, '{ScopedConnection.Everyone}') THEN
                RAISE EXCEPTION 'the tenant is another one' USING ERRCODE = '{Refused}';
            END IF;
            SELECT r.wait, r.since INTO rules FROM {s}.{Rules} r;
            SELECT e.stream_id, coalesce(t.at, CASE WHEN e.seq_id <= rules.since THEN e.timestamp END) AS at INTO authority
                FROM {s}.mt_events e LEFT JOIN {s}.{Times} t USING (seq_id)
                WHERE e.seq_id = expiry AND e.tenant_id = tenant AND e.type IN ({Words(Authorities.Select(a => a.Type))});
            IF NOT FOUND THEN
                RETURN 'no later event of the tenant lets it expire';
            END IF;
            -- A hold counts whatever heads there are, and whoever wrote that it ended: that is a day old by this clock first.
            SELECT e.type, coalesce(t.at, CASE WHEN e.seq_id <= rules.since THEN e.timestamp END) AS at INTO hold
                FROM {s}.mt_events e LEFT JOIN {s}.{Times} t USING (seq_id)
                WHERE e.tenant_id = tenant AND e.stream_id = authority.stream_id AND e.type IN ({Held}, {Released}) ORDER BY e.version DESC LIMIT 1;
            IF FOUND AND hold.type IN ({Held}) THEN
                RETURN 'the session is under a legal hold';
            ELSIF FOUND AND hold.at <= clock_timestamp() - interval '{Youngest}' IS NOT TRUE THEN
                RETURN 'its legal hold ended less than a day ago';
            ELSIF authority.at <= clock_timestamp() - rules.wait IS NOT TRUE THEN
                RETURN 'the event that lets it expire came a moment ago';
            END IF;
            RETURN {s}.why_no_head(expiry);
        END
        $body$;
        REVOKE ALL ON FUNCTION {s}.why_kept(text, bigint) FROM PUBLIC;

        -- Puts tombstones in place of data, of one tenant: all of them or none.
        CREATE OR REPLACE FUNCTION {s}.expire_events(tenant text, gids bigint[], stones jsonb[]) RETURNS bigint
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
        DECLARE
            touched bigint;
            kept record;
        BEGIN
            SELECT n.expiry, n.why INTO kept
                FROM (SELECT d.expiry, {s}.why_kept(tenant, d.expiry) AS why
                    FROM (SELECT DISTINCT (stone->'tombstone'->>'by')::bigint AS expiry FROM unnest(stones) stone) d) n
                WHERE n.why IS NOT NULL LIMIT 1;
            IF FOUND THEN
                RAISE EXCEPTION 'The log is append-only: no data expires by event %, because %.', kept.expiry, kept.why USING ERRCODE = '{Refused}';
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

    /// <summary>
    /// Notes that events which named blobs were removed. A row that is there becomes another one: whoever looked whether events name the blob looked before these were gone.
    /// </summary>
    public static string NoteRemoved(string s) =>
        $"INSERT INTO {s}.{Blobs} (tenant_id, sha256) SELECT $1, unnest($2) ON CONFLICT (tenant_id, sha256) DO UPDATE SET withdrawn = NULL";

    public static string Grant(string s, string role) =>
        $"GRANT EXECUTE ON FUNCTION {s}.expire_events(text, bigint[], jsonb[]), {s}.why_kept(text, bigint) TO {role};\n";
}
