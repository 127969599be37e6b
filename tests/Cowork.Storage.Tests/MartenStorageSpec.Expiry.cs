using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Testing;

using Npgsql;

using Xunit;

namespace Cowork.Storage.Tests;

/// <summary>Tombstones take the place of data that expired, and of nothing else, whoever asks for it in whatever words.</summary>
public sealed partial class MartenStorageSpec
{
    const string Stone = """{"tombstone":{"by":AUTHORITY}}""";

    /// <summary>Attempts on the event at position 1 and its neighbours. AUTHORITY stands for the position of the expiry, YOUNG for that of an event of today, FOREIGN for one that
    /// no expiry names.</summary>
    public static TheoryData<string, string> Attempts => new()
    {
        { "not a tombstone", """SELECT cowork.expire_events('default', ARRAY[1::bigint], ARRAY['{"content":"nothing happened"}'::jsonb])""" },
        { "text in a tombstone", """SELECT cowork.expire_events('default', ARRAY[1::bigint], ARRAY['{"tombstone":{"by":AUTHORITY,"note":"x"}}'::jsonb])""" },
        { "a text for a number", """SELECT cowork.expire_events('default', ARRAY[1::bigint], ARRAY['{"tombstone":{"by":AUTHORITY,"bytes":"x"}}'::jsonb])""" },
        { "a fraction", """SELECT cowork.expire_events('default', ARRAY[1::bigint], ARRAY['{"tombstone":{"by":AUTHORITY,"bytes":1.5}}'::jsonb])""" },
        { "two members", """SELECT cowork.expire_events('default', ARRAY[1::bigint], ARRAY['{"more":1,"tombstone":{"by":AUTHORITY}}'::jsonb])""" },
        { "other tokens", """SELECT cowork.expire_events('default', ARRAY[1::bigint], ARRAY['{"tombstone":{"by":AUTHORITY,"input_tokens":7}}'::jsonb])""" },
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
                .Replace("FOREIGN", $"{foreign}", StringComparison.Ordinal);
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

    /// <summary>A session with events of January that expired, an event of today among them, and a session that did not.</summary>
    async Task<(Node Node, long Authority, long Young, long Foreign)> Expiring(bool isCovered, int events = 3, bool namesYoung = true)
    {
        var node = await Open("a");
        var chain = new Chain(Org, "run-1", "s1");
        foreach (var page in Enumerable.Range(0, events).Select(i => $"text {i}").Chunk(400))
        {
            await node.Log.Append(chain.Commit(page), None);
        }
        var foreign = await Append(node, new Chain(Org, "run-2", "s2").Commit("foreign"));
        var named = await engines[0].Expiry.Named(Org, "session-s1", None);
        Assert.Equal((events, events), (named!.Through, named.Events));
        var young = await Append(node, One("memory-7", new RunEvent.OutputDelta("young", TimeProvider.System.GetUtcNow()), "s1"));
        var expired = new SessionEvent.SessionExpired(named.After(90) with { Through = named.Through + (namesYoung ? 1 : 0) }, Chain.Start.AddDays(1));
        var authority = await Append(node, One("session-s1", expired, "s1"));
        if (isCovered)
        {
            await Append(node, One(AuditHeads.Stream, new AuditHeadsEvent.HeadSigned(authority, new string('0', 64), Chain.Start, "kid", "e30.e30.AA", Chain.Start.AddDays(2)), null));
        }
        return (node, authority, young, foreign);
    }

    static async Task<long> Append(Node node, Commit commit) => Assert.IsType<AppendResult.Ok>(await node.Log.Append(commit, None)).First;

    static Commit One(string stream, Event e, string? session)
    {
        var (id, type, data, at) = (Ids.NewEventId(e.At), EventTypes.NameOf(e), EventJson.Write(e), TimestampConverter.Whole(e.At));
        var hash = HashChain.Next(HashChain.Root, Org, stream, 1, id, type, at, Chain.By.Actor, data);
        return new(
            Org,
            [new(stream, 0, [new(Org, stream, 1, id, type, e, data, at, Chain.By.Actor, hash, Correlation: Chain.By.Correlation, Causation: Chain.By.Causation)], session is null ? null : new SessionKey(session), null, [])],
            [], null, Chain.By);
    }
}
