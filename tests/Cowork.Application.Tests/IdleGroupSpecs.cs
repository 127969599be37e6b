using Cowork.Application.Storage;
using Cowork.Domain;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>Groups in which nothing happens are archived by themselves, once, whatever hosts there are; others are not.</summary>
public sealed class IdleGroupSpecs
{
    static readonly GroupKey Key = new("01k9group0000000000000000a");
    static readonly TimeSpan Week = TimeSpan.FromDays(7);

    readonly RunHarness bench = new();

    [Fact]
    public async Task A_group_is_archived_a_week_after_its_last_message_and_costs_a_look_a_day_until_then()
    {
        var host = await Ready();
        for (var day = 0; day < 6; day++)
        {
            await Pass(host, TimeSpan.FromDays(1));
        }
        await Say(host, "still here");
        await Pass(host, Week - TimeSpan.FromMinutes(1));
        Assert.Null((await State(host)).Archive);
        await Pass(host, TimeSpan.FromMinutes(1));
        var archived = (await State(host)).Archive!;
        Assert.NotNull(archived.ArchivedAt);
        Assert.Equal([archived.Path], bench.Archives.Files.Keys);
        Assert.Equal(1, (await bench.Story(Group.Aggregate.Stream(Key))).Count(type => type == "group_archive_requested"));
        Assert.Empty(((ActiveGroups)await host.Commands.LatestState(RunHarness.Org, ActiveGroups.Aggregate, ActiveGroups.StreamKey("acme"), default)).Groups);
        Assert.Equal(new Backlog(0, 0, 0), await host.Node.Backlog(default));
        Assert.Equal("group_archived", (await Post(host, "too late"))?.Code);
    }

    [Fact]
    public async Task Of_several_hosts_one_archives_it()
    {
        var host = await Ready();
        var others = Enumerable.Range(1, 3).Select(i => bench.AddHost($"n{i}")).ToList();
        bench.Clock.Advance(Week);
        await Task.WhenAll(others.Append(host).Select(one => one.Drive()));
        Assert.Equal(1, (await bench.Story(Group.Aggregate.Stream(Key))).Count(type => type == "group_archive_requested"));
        Assert.Single(bench.Archives.Written);
    }

    [Fact]
    public async Task A_message_that_comes_first_keeps_the_group_and_one_that_comes_second_is_refused()
    {
        var host = await Ready();
        var other = bench.AddHost("n1");
        // The other host says something between the look and the commit.
        bench.Clock.Advance(Week);
        var posted = false;
        bench.Engine.FailPoint = (commit, after) =>
        {
            if (!after && !posted && commit.Writes.Any(write => write.Events.Any(e => e.Event is GroupEvent.GroupArchiveRequested)))
            {
                posted = true;
                Assert.Null(Post(other, "just in time").AsTask().GetAwaiter().GetResult());
            }
        };
        await host.Drive();
        Assert.True(posted);
        Assert.Null((await State(host)).Archive);
        bench.Engine.FailPoint = null;
        await Pass(host, Week);
        Assert.NotNull((await State(host)).Archive?.ArchivedAt);
        Assert.Equal("group_archived", (await Post(other, "too late"))?.Code);
    }

    [Fact]
    public async Task Killed_at_any_commit_it_is_archived_once()
    {
        for (var at = 0; at < 3; at++)
        {
            foreach (var after in (bool[])[false, true])
            {
                var spec = new IdleGroupSpecs();
                var host = await spec.Ready();
                spec.bench.Clock.Advance(Week);
                spec.bench.DieAt([(at, after)]);
                await spec.bench.Outlive(host, async left =>
                {
                    await left.Drive();
                    if ((await spec.State(left)).Archive?.ArchivedAt is not null)
                    {
                        return false;
                    }
                    spec.bench.Clock.Advance(TimeSpan.FromSeconds(11));
                    return true;
                });
                var story = await spec.bench.Story(Group.Aggregate.Stream(Key));
                Assert.Equal(["group_archive_requested", "group_archived"], story.Where(type => type.StartsWith("group_archive", StringComparison.Ordinal)));
                Assert.Single(spec.bench.Archives.Written.Select(written => Convert.ToHexString(written.Bytes)).Distinct());
            }
        }
    }

    [Fact]
    public async Task While_the_bucket_is_away_the_job_waits_and_the_group_stays_closed()
    {
        var host = await Ready();
        bench.Archives.IsAway = true;
        bench.Clock.Advance(Week);
        await Assert.ThrowsAsync<StorageUnavailableException>(host.Drive);
        Assert.Equal(null as DateTimeOffset?, (await State(host)).Archive!.ArchivedAt);
        Assert.Equal("group_archived", (await Post(host, "too late"))?.Code);
        bench.Archives.IsAway = false;
        host.Node.Die();
        bench.Clock.Advance(TimeSpan.FromSeconds(11));
        var next = bench.AddHost("n1");
        await next.Drive();
        Assert.NotNull((await State(next)).Archive!.ArchivedAt);
    }

    [Fact]
    public async Task With_a_time_of_zero_nothing_is_archived_by_itself()
    {
        var spec = new IdleGroupSpecs { Options = new() { IdleAfter = TimeSpan.Zero } };
        var host = await spec.Ready();
        await spec.Pass(host, TimeSpan.FromDays(400));
        Assert.Null((await spec.State(host)).Archive);
    }

    GroupOptions Options
    {
        init => bench = new() { Groups = value };
    }

    async Task<RunHarness.Host> Ready()
    {
        var host = bench.AddHost("n0");
        var create = new CreateGroup(Key, "acme", Content.Of("Q2"), true, ["assistant"], "ann", "/w");
        Assert.Null((await host.Commands.Execute(RunHarness.Org, new("user:ann"), create, default)).Refused);
        await host.Drive();
        return host;
    }

    async Task Pass(RunHarness.Host host, TimeSpan time)
    {
        bench.Clock.Advance(time);
        await host.Drive();
    }

    async Task<Group.Live> State(RunHarness.Host host) => (Group.Live)await host.Commands.LatestState(RunHarness.Org, Group.Aggregate, Key, default);

    async Task Say(RunHarness.Host host, string text) => Assert.Null(await Post(host, text));

    static async ValueTask<Refusal?> Post(RunHarness.Host host, string text) => await host.Commands.Commit(
        RunHarness.Org, new("user:ann"),
        work => work.Do(Group.Aggregate, Key, new GroupCommand.StoreMessage(Content.Of(text), "ann", Ids.KeyOf(text), [], work.Now), Key.Session), default);
}
