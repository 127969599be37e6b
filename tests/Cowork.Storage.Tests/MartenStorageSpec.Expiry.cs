using System.Security.Cryptography;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Marten;
using Cowork.Testing;

using Npgsql;

using Xunit;

namespace Cowork.Storage.Tests;

/// <summary>Tombstones take the place of data that expired, and of nothing else, whoever asks for it in whatever words.</summary>
public sealed partial class MartenStorageSpec
{
    static readonly ECDsa HeadKey = ECDsa.Create(ECCurve.NamedCurves.nistP256);
    const string HeadKid = "kid-of-heads";
    readonly Dictionary<string, string> hashes = [];
    int heads;

    const string Stone = """{"tombstone":{"by":AUTHORITY}}""";

    /// <summary>Attempts on the event at position 1 and its neighbours. AUTHORITY stands for the position of the expiry, YOUNG for that of an event of today, FOREIGN for one that
    /// no expiry names, TOKENS for a model's answer.</summary>
    public static TheoryData<string, string> Attempts => new()
    {
        { "not a tombstone", """SELECT cowork.expire_events('default', ARRAY[1::bigint], ARRAY['{"content":"nothing happened"}'::jsonb])""" },
        { "text in a tombstone", """SELECT cowork.expire_events('default', ARRAY[1::bigint], ARRAY['{"tombstone":{"by":AUTHORITY,"note":"x"}}'::jsonb])""" },
        { "a text for a number", """SELECT cowork.expire_events('default', ARRAY[1::bigint], ARRAY['{"tombstone":{"by":AUTHORITY,"bytes":"x"}}'::jsonb])""" },
        { "a fraction", """SELECT cowork.expire_events('default', ARRAY[1::bigint], ARRAY['{"tombstone":{"by":AUTHORITY,"bytes":1.5}}'::jsonb])""" },
        { "two members", """SELECT cowork.expire_events('default', ARRAY[1::bigint], ARRAY['{"more":1,"tombstone":{"by":AUTHORITY}}'::jsonb])""" },
        { "other tokens", """SELECT cowork.expire_events('default', ARRAY[1::bigint], ARRAY['{"tombstone":{"by":AUTHORITY,"input_tokens":7}}'::jsonb])""" },
        { "tokens left out", """SELECT cowork.expire_events('default', ARRAY[TOKENS::bigint], ARRAY['{"tombstone":{"by":AUTHORITY,"output_tokens":2}}'::jsonb])""" },
        { "a counterfactual one", """SELECT cowork.expire_events('default', ARRAY[1::bigint], ARRAY['{"tombstone":{"by":AUTHORITY,"counterfactual":1}}'::jsonb])""" },
        { "no authority", """SELECT cowork.expire_events('default', ARRAY[1::bigint], ARRAY['{"tombstone":{"by":2}}'::jsonb])""" },
        { "an authority that is not there", """SELECT cowork.expire_events('default', ARRAY[1::bigint], ARRAY['{"tombstone":{"by":4711}}'::jsonb])""" },
        { "an event that is not there", $"SELECT cowork.expire_events('default', ARRAY[4711::bigint], ARRAY['{Stone}'::jsonb])" },
        { "another tenant's event", $"SELECT cowork.expire_events('other', ARRAY[1::bigint], ARRAY['{Stone}'::jsonb])" },
        { "the authority itself", $"SELECT cowork.expire_events('default', ARRAY[AUTHORITY::bigint], ARRAY['{Stone}'::jsonb])" },
        { "an event of today", $"SELECT cowork.expire_events('default', ARRAY[YOUNG::bigint], ARRAY['{Stone}'::jsonb])" },
        { "an event of another session", $"SELECT cowork.expire_events('default', ARRAY[FOREIGN::bigint], ARRAY['{Stone}'::jsonb])" },
        { "one good and one bad", $"SELECT cowork.expire_events('default', ARRAY[1, FOREIGN]::bigint[], ARRAY['{Stone}'::jsonb, '{Stone}'::jsonb])" },
        { "fewer tombstones than events", $"SELECT cowork.expire_events('default', ARRAY[1, 2]::bigint[], ARRAY['{Stone}'::jsonb])" },
        { "no scope", $"SET cowork.tenant = ''; SELECT cowork.expire_events('default', ARRAY[1::bigint], ARRAY['{Stone}'::jsonb])" },
        { "another scope", $"SET cowork.tenant = 'acme'; SELECT cowork.expire_events('default', ARRAY[1::bigint], ARRAY['{Stone}'::jsonb])" },
        { "the switch alone", "SET cowork.expiry = 'on'; UPDATE cowork.mt_events SET type = 'x' WHERE seq_id = 1" },
        { "the switch and a tombstone with more", $"SET cowork.expiry = 'on'; UPDATE cowork.mt_events SET data = '{Stone}', user_name = 'eve' WHERE seq_id = 1" },
        { "the switch taken back in the middle", "SET cowork.expiry = 'on'; UPDATE cowork.mt_events SET user_name = 'eve' || set_config('cowork.expiry', '', false) WHERE seq_id = 1" },
        { "the switch and a deletion", "SET cowork.expiry = 'on'; DELETE FROM cowork.mt_events WHERE seq_id = 1" },
        { "a function of one's own", "SET search_path = pg_temp, cowork; CREATE FUNCTION pg_temp.jsonb_typeof(jsonb) RETURNS text LANGUAGE sql AS $$ SELECT 'object' $$; "
            + $"""SELECT cowork.expire_events('default', ARRAY[1::bigint], ARRAY['["x"]'::jsonb])""" },
    };

    [Fact]
    public async Task No_data_leaves_the_log_but_what_expired()
    {
        var (node, authority, young, foreign) = await Expiring(isCovered: true);
        foreach (var (what, sql) in Attempts.Select(row => (row.Data.Item1, row.Data.Item2)))
        {
            var attempt = sql.Replace("AUTHORITY", $"{authority}", StringComparison.Ordinal).Replace("YOUNG", $"{young}", StringComparison.Ordinal)
                .Replace("FOREIGN", $"{foreign}", StringComparison.Ordinal).Replace("TOKENS", $"{young - 1}", StringComparison.Ordinal);
            foreach (var role in (string[])[AsHost, ConnectionString])
            {
                var refused = await Assert.ThrowsAnyAsync<PostgresException>(() => Execute(role, $"SET cowork.tenant = '*'; {attempt}"));
                Assert.True(refused.SqlState is "CW004" or PostgresErrorCodes.InsufficientPrivilege, $"{what}: {refused.SqlState} {refused.MessageText}");
            }
        }
        Assert.Equal("0", await Ask("SELECT count(*)::text FROM cowork.mt_events WHERE data ? 'tombstone'"));
        await AssertLedger(node);
    }

    [Fact]
    public async Task An_expiry_that_no_signed_head_has_removes_nothing()
    {
        var (node, authority, _, _) = await Expiring(isCovered: false);
        var refused = await Assert.ThrowsAsync<PostgresException>(() => Execute(
            AsHost, $"SET cowork.tenant = '*'; SELECT cowork.expire_events('default', ARRAY[1::bigint], ARRAY['{Stone.Replace("AUTHORITY", $"{authority}", StringComparison.Ordinal)}'::jsonb])"));
        Assert.Equal("CW004", refused.SqlState);
        await AssertLedger(node);
    }

    /// <summary>
    /// What the hosts' role may put into the log as a head. DATA has the members of a head that a host would sign now, but for the signature itself; the changes are to its row.
    /// </summary>
    public static TheoryData<string, string> MadeUpHeads => new()
    {
        { "a size alone", "'data', jsonb_build_object('tree_size', 999999)" },
        { "a size that the log has not", "'data', DATA || '{\"tree_size\":999999}'" },
        { "another root", "'data', DATA || jsonb_build_object('root_hash', repeat('0', 64))" },
        { "the signature of the head before it", "'data', DATA || jsonb_build_object('signature', e.data->'signature')" },
        { "no signature", "'data', DATA || jsonb_build_object('signature', '')" },
        { "a signature that is too short", "'data', DATA || jsonb_build_object('signature', left(DATA->>'signature', -8))" },
        { "a signature that is no text", "'data', DATA || jsonb_build_object('signature', replace(DATA->>'signature', '.', '.%'))" },
        { "a key that is not there", "'data', DATA || jsonb_build_object('kid', 'mine')" },
        { "a gap before it", "'data', DATA, 'version', 5" },
        { "another event", "'data', DATA, 'type', 'run_started.v1'" },
        { "a size of before", "'data', e.data" },
    };

    [Fact]
    public async Task A_made_up_head_lets_nothing_expire()
    {
        var (node, authority, _, _) = await Expiring(isCovered: false);
        var head = await Signed(node, isStored: false);
        var expire = $"SELECT cowork.expire_events('default', ARRAY[1::bigint], ARRAY['{Stone.Replace("AUTHORITY", $"{authority}", StringComparison.Ordinal)}'::jsonb])";
        foreach (var (what, change) in MadeUpHeads.Select(row => (row.Data.Item1, row.Data.Item2)))
        {
            var refused = await Assert.ThrowsAnyAsync<PostgresException>(() => Execute(AsHost, MadeUp(head, change) + expire));
            Assert.True(refused is { SqlState: "CW004" } && refused.MessageText.Contains("head", StringComparison.Ordinal), $"{what}: {refused.SqlState} {refused.MessageText}");
        }
        // The signature itself is judged elsewhere (docs/retention.md, "Who may do it").
        await Execute(AsHost, MadeUp(head, "'data', DATA") + expire + "; ROLLBACK");
        await Signed(node, isStored: true);
        await Execute(AsHost, $"BEGIN; SET LOCAL cowork.tenant = '*'; {expire}; ROLLBACK");
        await AssertLedger(node);
    }

    [Fact]
    public async Task An_expiry_waits_by_the_databases_clock_which_hosts_do_not_set()
    {
        var (node, authority, _, _) = await Expiring(isCovered: true);
        await Projector(node, Chain.Words()).Projector.CatchUp(None);
        var expire = $"BEGIN; SET LOCAL cowork.tenant = '*'; "
            + $"SELECT cowork.expire_events('default', ARRAY[1::bigint], ARRAY['{Stone.Replace("AUTHORITY", $"{authority}", StringComparison.Ordinal)}'::jsonb]); ROLLBACK";
        await Execute(ConnectionString, "UPDATE cowork.expiry_rules SET wait = '10 minutes'");
        Assert.Equal("CW004", (await Assert.ThrowsAsync<PostgresException>(() => Execute(AsHost, expire))).SqlState);
        Assert.Equal(RemovalStep.Kept, (await engines[0].Expiry.Remove(Org, "session-s1", 0, 500, None)).Step);
        foreach (var change in (string[])["UPDATE cowork.expiry_times SET at = '2026-01-01'", "UPDATE cowork.expiry_rules SET wait = '0'", "SELECT * FROM cowork.expiry_times"])
        {
            Assert.Equal(PostgresErrorCodes.InsufficientPrivilege, (await Assert.ThrowsAsync<PostgresException>(() => Execute(AsHost, change))).SqlState);
        }
        await Execute(ConnectionString, "UPDATE cowork.expiry_times SET at = at - interval '11 minutes'");
        await Execute(AsHost, expire);
    }

    [Fact]
    public async Task A_session_under_a_legal_hold_keeps_its_data_whatever_the_hosts_role_writes()
    {
        var (node, authority, _, _) = await Expiring(isCovered: true, isHeld: true);
        var expire = $"SET LOCAL cowork.tenant = '*'; "
            + $"SELECT cowork.expire_events('default', ARRAY[1::bigint], ARRAY['{Stone.Replace("AUTHORITY", $"{authority}", StringComparison.Ordinal)}'::jsonb]); ROLLBACK";
        var refused = await Assert.ThrowsAsync<PostgresException>(() => Execute(AsHost, $"BEGIN; {expire}"));
        Assert.Contains("legal hold", refused.MessageText, StringComparison.Ordinal);
        // It ended long ago, as its time says, and came a moment ago.
        await Append(node, One("session-s1", new SessionEvent.SessionReleased(Chain.Start), "s1", 3));
        refused = await Assert.ThrowsAsync<PostgresException>(() => Execute(AsHost, $"BEGIN; {expire}"));
        Assert.Contains("legal hold ended", refused.MessageText, StringComparison.Ordinal);
        await Execute(ConnectionString, "UPDATE cowork.expiry_times SET at = at - interval '25 hours'");
        await Execute(AsHost, $"BEGIN; {expire}");
    }

    /// <summary>A statement that puts a head into the log, in a transaction that stays open.</summary>
    static string MadeUp(AuditHeadsEvent.HeadSigned head, string change)
    {
        var data = $"'{System.Text.Encoding.UTF8.GetString(EventJson.Write(head))}'::jsonb";
        return $"""
            BEGIN; SET LOCAL cowork.tenant = '*';
            WITH made AS (
                INSERT INTO cowork.mt_events SELECT (jsonb_populate_record(
                    e,
                    jsonb_build_object('seq_id', (SELECT max(seq_id) + 1 FROM cowork.mt_events), 'version', 2, 'id', gen_random_uuid())
                        || jsonb_build_object({change.Replace("DATA", data, StringComparison.Ordinal)}))).*
                FROM cowork.mt_events e WHERE e.stream_id = '{AuditHeads.Stream}' RETURNING version)
            UPDATE cowork.mt_streams s SET version = 2 FROM made WHERE s.id = '{AuditHeads.Stream}';
            """;
    }

    /// <summary>Signs a head over the log as a host does.</summary>
    async Task<AuditHeadsEvent.HeadSigned> Signed(Node node, bool isStored)
    {
        var tree = Tree(node);
        Assert.True(await tree.CatchUp(None));
        var (size, at) = (tree.Progress.Size, Chain.Start.AddDays(2));
        var root = Convert.ToHexStringLower(await tree.Tiles.Root(size, None));
        var signed = new AuditHeadsEvent.HeadSigned(size, root, at, HeadKid, Jws.Sign(HeadKey, HeadKid, HeadText.Typ, HeadText.Payload(size, root, at)), at);
        if (isStored)
        {
            await Append(node, One(AuditHeads.Stream, signed, null, ++heads));
        }
        return signed;
    }

    [Fact]
    public async Task Data_is_removed_in_bounded_steps_once_every_model_has_folded_it_and_the_rows_go_with_it()
    {
        var (node, authority, _, foreign) = await Expiring(isCovered: true, events: 1_200, namesYoung: false);
        var expiry = engines[0].Expiry;
        Assert.Equal(RemovalStep.Later, (await expiry.Remove(Org, "session-s1", 0, 500, None)).Step);
        var (projector, _) = Projector(node, Chain.Words());
        await projector.CatchUp(None);
        Assert.NotNull(await node.Rows.Get(Org, "tallies", "1", None));
        // Others append meanwhile.
        var busy = new Chain(Org, "run-9", "s9");
        var (after, steps, removed) = (0L, 0, 0L);
        while (await expiry.Remove(Org, "session-s1", after, 500, None) is var step)
        {
            await node.Log.Append(busy.Commit("busy"), None);
            Assert.InRange(step.Events, 0, 500);
            (after, steps, removed) = (step.Through, steps + 1, removed + step.Events);
            if (step.Step == RemovalStep.Done)
            {
                break;
            }
        }
        Assert.Equal((3, 1_200L), (steps, removed));
        Assert.Equal(authority, await expiry.ExpiredAt(Org, "session-s1", None));
        Assert.Equal(1_200, (await expiry.Figures(Org, "session-s1", None)).Events);
        Assert.Null(await node.Rows.Get(Org, "tallies", "1", None));
        Assert.NotNull(await node.Rows.Get(Org, "tallies", "2", None));
        Assert.Equal(0, (await expiry.Remove(Org, "session-s1", 0, 500, None)).Events);
        var loaded = (await node.Log.Load(Org, "run-1", 0, 2_000, None)).Events;
        Assert.Equal(1_200, loaded.Count);
        Assert.All(loaded, e => Assert.Equal(authority, Assert.IsType<Tombstone>(e.Event).By));
        await projector.CatchUp(None);
        // The streams have written rows of the first two models alone.
        foreach (var model in (IRowModel[])[Chain.Tallies, Chain.Marks])
        {
            Assert.Null(await node.Rows.FindDifference(model, None));
        }
        foreach (var model in (IRowModel[])[Chain.Tallies, Chain.Marks, Chain.Cards, Chain.Lives])
        {
            await node.Rows.Rebuild(model, None);
            Assert.Null(await node.Rows.FindDifference(model, None));
        }
        Assert.Contains(await expiry.Quiet(Org, "session", "", TimeProvider.System.GetUtcNow(), 10, None), stream => stream == "session-s1");
        Assert.Contains(Org, await expiry.Tenants(None));
        Assert.True(foreign > 0);
    }

    [Fact]
    public async Task A_blob_is_looked_for_again_when_what_named_it_goes_while_it_is_looked_for()
    {
        await Open("a");
        var expiry = engines[0].Expiry;
        await using var connection = new NpgsqlConnection(ConnectionString);
        await connection.OpenAsync();
        string[] blobs = ["aa", "bb"];
        await Remove(blobs);
        var found = await expiry.Blobs(DateTimeOffset.MinValue, 10, None);
        Assert.Equal(blobs, found.Select(blob => blob.Sha256));
        // Another removal has the blob, and has not ended when it is to be forgotten.
        await using var removal = await connection.BeginTransactionAsync();
        await Remove("aa");
        var forgotten = expiry.Forget(found, None).AsTask();
        await Patience.Until(async () =>
        {
            await using var other = new NpgsqlConnection(ConnectionString);
            await other.OpenAsync();
            await using var ask = new NpgsqlCommand("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'", other);
            return await ask.ExecuteScalarAsync() is > 0L;
        });
        await removal.CommitAsync();
        await forgotten;
        var left = Assert.Single(await expiry.Blobs(DateTimeOffset.MinValue, 10, None));
        Assert.Equal("aa", left.Sha256);
        await expiry.Note(["aa"], Chain.Start, None);
        Assert.Equal(Chain.Start, Assert.Single(await expiry.Blobs(Chain.Start, 10, None)).WithdrawnAt);
        await Remove("aa");
        Assert.Null(Assert.Single(await expiry.Blobs(DateTimeOffset.MinValue, 10, None)).WithdrawnAt);
        await expiry.Forget(await expiry.Blobs(DateTimeOffset.MinValue, 10, None), None);
        Assert.Empty(await expiry.Blobs(DateTimeOffset.MaxValue, 10, None));

        async Task Remove(params string[] named)
        {
            await using var note = new NpgsqlCommand(ExpirySchema.NoteRemoved("cowork"), connection) { Parameters = { new() { Value = Org }, new() { Value = named } } };
            await note.ExecuteNonQueryAsync();
        }
    }

    /// <summary>A session with events of January that expired, an event of today among them, and a session that did not.</summary>
    async Task<(Node Node, long Authority, long Young, long Foreign)> Expiring(bool isCovered, int events = 3, bool namesYoung = true, bool isHeld = false)
    {
        var node = await Open("a");
        await TestPostgres.RemoveAtOnce(ConnectionString);
        var chain = new Chain(Org, "run-1", "s1");
        foreach (var page in Enumerable.Range(0, events).Select(i => $"text {i}").Chunk(400))
        {
            await node.Log.Append(chain.Commit(page), None);
        }
        var foreign = await Append(node, new Chain(Org, "run-2", "s2").Commit("foreign"));
        var key = new SigningKey(HeadKid, SigningKeys.Heads, Jws.PublicOf(HeadKey), new("0123456789abcdef", "AAECAw=="));
        await Append(node, One(SigningKeys.Aggregate.Stream(SigningKeys.Key), new SigningKeysEvent.SigningKeyMade(key, Chain.Start), null));
        var named = await engines[0].Expiry.Named(Org, "session-s1", None);
        Assert.Equal((events, events), (named!.Through, named.Events));
        if (isHeld)
        {
            await Append(node, One("session-s1", new SessionEvent.SessionHeld("lawsuit 7", Chain.Start), "s1"));
        }
        if (namesYoung)
        {
            await Append(node, One("memory-8", new RunEvent.LlmResponse(1, 1, "offline", "stop", new string('b', 64), 120, 2, 0, null, Chain.Start), "s1"));
        }
        var young = await Append(node, One("memory-7", new RunEvent.OutputDelta("young", TimeProvider.System.GetUtcNow()), "s1"));
        await Signed(node, isStored: true);
        var expired = new SessionEvent.SessionExpired(named.After(90) with { Through = named.Through + (namesYoung ? 2 : 0) }, Chain.Start.AddDays(1));
        var authority = await Append(node, One("session-s1", expired, "s1", isHeld ? 2 : 1));
        if (isCovered)
        {
            await Signed(node, isStored: true);
        }
        return (node, authority, young, foreign);
    }

    static async Task<long> Append(Node node, Commit commit) => Assert.IsType<AppendResult.Ok>(await node.Log.Append(commit, None)).First;

    Commit One(string stream, Event e, string? session, long version = 1)
    {
        var (id, type, data, at) = (Ids.NewEventId(e.At), EventTypes.NameOf(e), EventJson.Write(e), TimestampConverter.Whole(e.At));
        var hash = hashes[stream] = HashChain.Next(hashes.GetValueOrDefault(stream, HashChain.Root), Org, stream, version, id, type, at, Chain.By.Actor, data);
        return new(
            Org,
            [new(stream, version - 1, [new(Org, stream, version, id, type, e, data, at, Chain.By.Actor, hash, Correlation: Chain.By.Correlation, Causation: Chain.By.Causation)], session is null ? null : new SessionKey(session), null, [])],
            [], null, Chain.By);
    }
}
