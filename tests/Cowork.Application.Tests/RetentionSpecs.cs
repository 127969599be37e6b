using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;

using Microsoft.Extensions.Logging.Abstractions;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>
/// Sessions in which nothing happens are deleted when their period is over, and a day later their data is gone: from the log, the read models, and whoever asks for it. What
/// is used, held or younger stays.
/// </summary>
public sealed class RetentionSpecs
{
    static readonly TimeSpan Period = TimeSpan.FromDays(90);
    static readonly TimeSpan Day = TimeSpan.FromDays(1);

    RunHarness bench = new() { Retention = new() { SessionsDays = 90, SecurityDays = 30 } };

    [Fact]
    public async Task A_quiet_session_is_deleted_after_its_period_and_its_data_is_gone_a_day_later()
    {
        var (host, run) = await Ready("s", $"hello\nread_file {{\"path\":\"{new string('a', 70_000)}\"}}");
        await Ready("young", "later", host, after: Period - TimeSpan.FromHours(1));
        var before = (await bench.Engine.Feed(RunHarness.Org, new("s"), 0, int.MaxValue, default)).Entries;
        await Look(host);
        Assert.IsType<Session.Open>(await State(host, "s"));

        await Pass(host, TimeSpan.FromHours(2));
        await Look(host);
        Assert.IsType<Session.Deleted>(await State(host, "s"));
        Assert.IsType<Session.Open>(await State(host, "young"));
        await Pass(host, Day - TimeSpan.FromMinutes(1));
        Assert.IsType<Session.Deleted>(await State(host, "s"));
        await Pass(host, TimeSpan.FromMinutes(2));
        Assert.Equal(new Session.Expired(IsRemoved: false), await State(host, "s"));
        // Nothing goes before a head has what says so.
        await Pass(host, TimeSpan.FromSeconds(10));
        Assert.False(Tombstones.Is((await Entry(before[0])).Data.Span));
        await Cover(host);
        await Pass(host, TimeSpan.FromSeconds(10));
        Assert.Equal(new Session.Expired(IsRemoved: true), await State(host, "s"));

        var after = (await bench.Engine.Feed(RunHarness.Org, new("s"), 0, int.MaxValue, default)).Entries;
        Assert.Equal(Enumerable.Range(1, after.Count).Select(id => (long)id), after.Select(e => e.FeedId));
        Assert.Equal(["session_expired.v1", "session_removed.v1"], after.TakeLast(2).Select(e => e.Type));
        foreach (var (was, now) in before.Zip(after).Where(pair => ExpiredEvents.Aggregates.Contains(pair.First.Stream.Split('-')[0])))
        {
            Assert.Equal(was with { Data = default }, now with { Data = default });
            Assert.True(Tombstones.Is(now.Data.Span));
        }
        await AsAfterARebuild(host);
        Assert.Null(await bench.Engine.Get(RunHarness.Org, Runs.Model.Table, run.Value, default));
        Assert.NotNull(await bench.Engine.Get(RunHarness.Org, Sessions.Model.Table, "young", default));
        // The long arguments lie in the blob store, until the store is swept. One that does not answer is asked again with the next look.
        bench.Blobs.IsAway = true;
        await Look(host);
        Assert.Equal((0, 1), (bench.Blobs.Withdrawn.Count, bench.Blobs.Withdrawals));
        bench.Blobs.IsAway = false;
        await Look(host);
        Assert.NotEmpty(bench.Blobs.Withdrawn);
        Assert.Contains((await Assert.ThrowsAsync<InvalidOperationException>(() => host.Send("s", "again"))).Message, (string[])["expired", "not_found"]);
        var feedback = await host.Commands.Execute(RunHarness.Org, RunHarness.User, new GiveFeedback(run, Content.Of("x"), null), default);
        Assert.Contains(feedback.Refused?.Code, (string?[])["expired", "not_found"]);
        // What it counted for is given back, and what it cost is still known.
        var usage = Usage.Model.Read((await bench.Engine.Get(RunHarness.Org, Usage.Model.Table, Usage.TenantKey, default))!.Json.Span);
        Assert.Equal((1, 0), (usage.Sessions, usage.Blobs));
        var metrics = (MetricsRow.OfTenant)Metrics.Model.Read((await bench.Engine.Get(RunHarness.Org, Metrics.Model.Table, Metrics.TenantKey, default))!.Json.Span);
        Assert.Equal((2, 2), (metrics.Runs, metrics.Statuses.Completed));
    }

    [Fact]
    public async Task What_is_held_in_use_or_busy_stays()
    {
        var (host, _) = await Ready("held", "one");
        await Ready("source", "two", host);
        await Ready("busy", "three", host);
        Assert.Null((await host.Commands.Execute(RunHarness.Org, RunHarness.User, new HoldSession(new("held"), "lawsuit"), default)).Refused);
        var last = (await bench.Engine.Feed(RunHarness.Org, new("source"), 0, int.MaxValue, default)).Entries[^1];
        var fork = new SessionFork(new("source"), null, new(last.Stream, last.Version), last.Hash, last.FeedId, []);
        Assert.Null((await host.Commands.Execute(RunHarness.Org, RunHarness.User, new ForkSession(new("fork"), fork, "{}", null, null), default)).Refused);
        await Pass(host, Period + Day);
        // A turn that waits is a live run, however old its session is.
        await host.Commands.Commit(
            RunHarness.Org, RunHarness.User,
            work => work.Do(Session.Aggregate, new("busy"), new SessionCommand.Enqueue(RunKey.New(work.Now), 10, work.Now), new SessionKey("busy")), default);
        await Pass(host, Period);
        await Look(host);
        foreach (var key in (string[])["held", "source", "busy"])
        {
            Assert.IsType<Session.Open>(await State(host, key));
        }
        // The fork was quiet too, and gone it needs its past no more.
        Assert.IsType<Session.Deleted>(await State(host, "fork"));
        await Look(host);
        Assert.IsType<Session.Deleted>(await State(host, "source"));
        Assert.Equal("session_held", (await host.Commands.Execute(RunHarness.Org, RunHarness.User, new DeleteSession(new("held")), default)).Refused?.Code);
        // Its project is deleted: what happened in it stays all the same.
        Assert.Null((await host.Commands.Execute(RunHarness.Org, RunHarness.User, new DeleteSessions([new("held")]), default)).Refused);
        await Pass(host, Period + Day);
        await Look(host);
        await Cover(host);
        await Pass(host, Day);
        Assert.IsType<Session.Deleted>(await State(host, "held"));
        Assert.Equal(new Session.Expired(IsRemoved: true), await State(host, "source"));
        Assert.Null((await host.Commands.Execute(RunHarness.Org, RunHarness.User, new ReleaseSession(new("held")), default)).Refused);
        await Look(host);
        await Cover(host);
        await Pass(host, Period);
        await Look(host);
        await Cover(host);
        await Pass(host, Day);
        Assert.Equal(new Session.Expired(IsRemoved: true), await State(host, "held"));
    }

    [Fact]
    public async Task What_the_fork_of_a_deleted_fork_has_for_its_past_stays()
    {
        var (host, run) = await Ready("source", "one");
        foreach (var (from, to) in ((string, string)[])[("source", "middle"), ("middle", "last")])
        {
            var end = (await bench.Engine.Feed(RunHarness.Org, new(from), 0, int.MaxValue, default)).Entries[^1];
            var fork = new SessionFork(new(from), null, new(end.Stream, end.Version), end.Hash, end.FeedId, [run]);
            Assert.Null((await host.Commands.Execute(RunHarness.Org, RunHarness.User, new ForkSession(new(to), fork, "{}", null, null), default)).Refused);
        }
        Assert.Null((await host.Commands.Execute(RunHarness.Org, RunHarness.User, new DeleteSession(new("middle")), default)).Refused);
        Assert.Null((await host.Commands.Execute(RunHarness.Org, RunHarness.User, new HoldSession(new("last"), "lawsuit"), default)).Refused);
        await Pass(host, Period + Day);
        await Look(host);
        Assert.IsType<Session.Open>(await State(host, "source"));
        Assert.Null((await host.Commands.Execute(RunHarness.Org, RunHarness.User, new ReleaseSession(new("last")), default)).Refused);
        Assert.Null((await host.Commands.Execute(RunHarness.Org, RunHarness.User, new DeleteSession(new("last")), default)).Refused);
        await Look(host);
        Assert.IsType<Session.Deleted>(await State(host, "source"));
    }

    [Fact]
    public async Task A_host_whose_clock_is_ahead_deletes_nothing_before_its_time()
    {
        var (host, _) = await Ready("s", "hello");
        bench.Engine.HostsAreAhead = Period + Day;
        await Pass(host, Period + Day);
        await Look(host);
        Assert.IsType<Session.Open>(await State(host, "s"));
        // So much time has passed for the database, too.
        bench.Engine.HostsAreAhead = TimeSpan.Zero;
        await Look(host);
        Assert.IsType<Session.Deleted>(await State(host, "s"));
        bench.Engine.HostsAreAhead = Day;
        await Pass(host, Day + TimeSpan.FromMinutes(1));
        Assert.IsType<Session.Deleted>(await State(host, "s"));
    }

    [Fact]
    public async Task A_period_that_is_set_longer_holds_for_what_was_deleted_and_is_not_gone_yet()
    {
        var (host, _) = await Ready("s", "hello");
        await Pass(host, Period + Day);
        await Look(host);
        Assert.IsType<Session.Deleted>(await State(host, "s"));
        Assert.Null((await host.Commands.Execute(RunHarness.Org, RunHarness.User, new ChangeRetention(new(120, null), "lawsuit"), default)).Refused);
        await Pass(host, Day + Day);
        Assert.IsType<Session.Deleted>(await State(host, "s"));
        await Pass(host, TimeSpan.FromDays(30));
        Assert.Equal(new Session.Expired(IsRemoved: false), await State(host, "s"));
        await Cover(host);
        await Pass(host, TimeSpan.FromSeconds(10));
        Assert.Equal(new Session.Expired(IsRemoved: true), await State(host, "s"));
        await AsAfterARebuild(host);
    }

    [Fact]
    public async Task A_turn_or_a_hold_that_comes_first_keeps_the_session_and_one_that_comes_second_is_refused()
    {
        foreach (var holds in (bool[])[false, true])
        {
            bench = new() { Retention = bench.Retention };
            var (host, _) = await Ready("s", "hello");
            var other = bench.AddHost("n1");
            bench.Clock.Advance(Period + Day);
            var sent = 0;
            bench.Engine.FailPoint = (commit, after) =>
            {
                if (!after && commit.Writes.Any(write => write.Events.Any(e => e.Event is SessionEvent.SessionDeleted)) && sent++ == 0)
                {
                    var first = holds
                        ? other.Commands.Execute(RunHarness.Org, RunHarness.User, new HoldSession(new("s"), "just in time"), default).AsTask().GetAwaiter().GetResult().Refused?.Code
                        : other.Send("s", "just in time").GetAwaiter().GetResult() is { Value: not "" } ? null : "";
                    Assert.Null(first);
                }
            };
            await Look(host);
            Assert.Equal(1, sent);
            bench.Engine.FailPoint = null;
            await other.Drive();
            Assert.IsType<Session.Open>(await State(other, "s"));
            if (!holds)
            {
                await Pass(other, Period + Day);
                await Look(other);
                Assert.Equal("not_found", (await Assert.ThrowsAsync<InvalidOperationException>(() => other.Send("s", "too late"))).Message);
            }
        }
    }

    [Fact]
    public async Task A_hold_that_comes_before_the_data_expires_keeps_it_and_one_that_comes_afterwards_is_refused()
    {
        var (host, _) = await Ready("s", "hello");
        var other = bench.AddHost("n1");
        await Pass(host, Period + Day);
        await Look(host);
        Assert.IsType<Session.Deleted>(await State(host, "s"));
        var held = 0;
        bench.Engine.FailPoint = (commit, after) =>
        {
            if (!after && commit.Writes.Any(write => write.Events.Any(e => e.Event is SessionEvent.SessionExpired)) && held++ == 0)
            {
                Assert.Null(Hold());
            }
        };
        await Pass(host, Day + TimeSpan.FromMinutes(1));
        bench.Engine.FailPoint = null;
        Assert.Equal((1, true), (held, await State(host, "s") is Session.Deleted { IsHeld: true }));
        Assert.Null((await host.Commands.Execute(RunHarness.Org, RunHarness.User, new ReleaseSession(new("s")), default)).Refused);
        await Pass(host, Period + Day);
        await Look(host);
        Assert.Equal(new Session.Expired(IsRemoved: false), await State(host, "s"));
        Assert.Equal("expired", Hold());

        string? Hold() =>
            other.Commands.Execute(RunHarness.Org, RunHarness.User, new HoldSession(new("s"), "just in time"), default).AsTask().GetAwaiter().GetResult().Refused?.Code;
    }

    [Fact]
    public async Task Killed_at_any_commit_or_step_the_removal_goes_on_and_happens_once()
    {
        for (var at = 0; at < 8; at++)
        {
            foreach (var after in (bool[])[false, true])
            {
                bench = new() { Retention = bench.Retention };
                var (host, _) = await Ready("s", "hello");
                bench.Clock.Advance(Period + Day);
                var steps = 0;
                bench.DieAt([(at, after)]);
                bench.Engine.RemovalPoint = isAfter =>
                {
                    if (isAfter == after && steps++ == 0)
                    {
                        throw new HostDiedException();
                    }
                };
                await bench.Outlive(host, async left =>
                {
                    await Look(left);
                    await CatchUp();
                    if (await State(left, "s") is Session.Expired { IsRemoved: true })
                    {
                        return false;
                    }
                    await Cover(left);
                    bench.Clock.Advance(Day + TimeSpan.FromSeconds(11));
                    return true;
                });
                bench.Engine.FailPoint = null;
                bench.Engine.RemovalPoint = null;
                var story = await bench.Story(Session.Aggregate.Stream(new("s")));
                Assert.Equal(["session_deleted", "session_expired", "session_removed"], story.TakeLast(3));
                await AsAfterARebuild(host);
            }
        }
    }

    [Fact]
    public async Task Tenants_have_periods_of_their_own_and_days_of_security_events_expire()
    {
        var (host, _) = await Ready("s", "hello");
        var other = new Origin("user:bo");
        foreach (var org in (string[])["acme", "forever"])
        {
            await host.Commands.Execute(org, other, new OpenSession(SessionKey.Own("s"), "/w", "{}", null), default);
            Assert.Null((await host.Commands.Execute(org, other, new ChangeRetention(org == "acme" ? new(1, 0) : new(0, 0), null), default)).Refused);
        }
        var note = new SecurityNote(SecurityKind.Granted, "user:ann", null, "::1", null, null, [], 1, bench.Clock.GetUtcNow(), bench.Clock.GetUtcNow());
        await host.Commands.Execute(RunHarness.Org, new("system"), new RecordSecurityNotes([note]), default);
        await Pass(host, TimeSpan.FromDays(2));
        Assert.IsType<Session.Deleted>(await host.Commands.LatestState("acme", Session.Aggregate, new("s"), default));
        await Pass(host, TimeSpan.FromDays(30));
        await Look(host);
        await Cover(host);
        await Pass(host, TimeSpan.FromMinutes(1));
        Assert.Equal(new Session.Expired(IsRemoved: true), await host.Commands.LatestState("acme", Session.Aggregate, new("s"), default));
        Assert.IsType<Session.Open>(await host.Commands.LatestState("forever", Session.Aggregate, new("s"), default));
        Assert.IsType<Session.Open>(await State(host, "s"));
        var days = (await bench.Engine.Feed(RunHarness.Org, null, 0, int.MaxValue, default)).Entries.Where(e => e.Stream.StartsWith("security-", StringComparison.Ordinal)).ToList();
        Assert.Equal(["access_granted.v1", "security_expired.v1", "security_removed.v1"], days.Select(e => e.Type));
        Assert.Equal([true, false, false], days.Select(e => Tombstones.Is(e.Data.Span)));
        await AsAfterARebuild(host);
    }

    async Task<(RunHarness.Host Host, RunKey Run)> Ready(string session, string message, RunHarness.Host? on = null, TimeSpan after = default)
    {
        var host = on ?? bench.AddHost("n0");
        bench.Clock.Advance(after);
        await host.OpenSession(session);
        var run = await host.Send(session, message);
        await host.Drive();
        await CatchUp();
        return (host, run);
    }

    /// <summary>What every host does now and then.</summary>
    async Task Look(RunHarness.Host host)
    {
        await host.Commands.Execute(RunHarness.Org, RetentionSweep.System, new StartSweep(), default);
        await host.Drive();
        await CatchUp();
    }

    async Task Pass(RunHarness.Host host, TimeSpan time)
    {
        bench.Clock.Advance(time);
        await CatchUp();
        await host.Drive();
        await CatchUp();
    }

    Task CatchUp() => new Projector(bench.Engine, ReadModels.AsyncProjections, bench.Clock, NullLogger<Projector>.Instance).CatchUp(default);

    /// <summary>Signs a head, as far as the log knows of it, over all that is there.</summary>
    async Task Cover(RunHarness.Host host)
    {
        var last = (await new AuditHeadLog(bench.Engine, new(RunHarness.Org)).Latest(default))?.Head.TreeSize ?? 0;
        var head = new SignedHead(await bench.Engine.Head(default), new string('0', 64), bench.Clock.GetUtcNow(), "kid", "e30.e30.AA");
        await host.Commands.Execute(RunHarness.Org, new("system"), new SignHead(head, last, Publish: false), default);
    }

    async Task AsAfterARebuild(RunHarness.Host host)
    {
        await CatchUp();
        foreach (var model in ReadModels.Tables)
        {
            Assert.Equal((model.Table, null), (model.Table, await bench.Engine.FindDifference(model, default)));
        }
    }

    static async Task<Session> State(RunHarness.Host host, string session) => await host.Commands.LatestState(RunHarness.Org, Session.Aggregate, new(session), default);

    async Task<FeedEntry> Entry(FeedEntry was) => (await bench.Engine.Feed(RunHarness.Org, null, was.Position - 1, 1, default)).Entries[0];
}
