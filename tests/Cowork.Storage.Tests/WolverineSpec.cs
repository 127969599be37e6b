using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Marten;
using Cowork.Projections;
using Cowork.Testing;

using Npgsql;

using Xunit;

namespace Cowork.Storage.Tests;

/// <summary>Commands and jobs as Wolverine's messages.</summary>
public sealed class WolverineSpec : StorageHarness
{
    static readonly Origin Ann = new("user:ann");

    readonly List<IEngine> engines = [];
    string connectionString = "";

    public override async ValueTask InitializeAsync() => connectionString = await TestPostgres.NewDatabase();

    public override async ValueTask DisposeAsync()
    {
        foreach (var engine in engines)
        {
            await engine.DisposeAsync();
        }
    }

    [Fact]
    public async Task Every_command_has_a_handler_whose_code_was_generated()
    {
        var engine = await StartMarten("a");
        Assert.Empty(engine.Bus.Missing(Bus.CommandTypes));
        Assert.Contains(typeof(SubmitTurn), Bus.CommandTypes);
        Assert.Contains(nameof(Unknown), Assert.Single(engine.Bus.Missing([typeof(Unknown)])), StringComparison.Ordinal);
        Assert.DoesNotContain(AppDomain.CurrentDomain.GetAssemblies(), a => a.GetName().Name == "JasperFx.RuntimeCompiler");
    }

    [Fact]
    public async Task What_the_build_offers_is_what_is_served()
    {
        var engine = await StartMarten("a");
        Assert.Equal(EngineRoutes.All.Select(r => (r.Method, r.Pattern)).Order(), engine.Bus.Endpoints.Order());
    }

    [Fact]
    public async Task A_command_goes_over_the_bus_to_its_tenant_and_back_with_its_refusal()
    {
        var (known, commands) = Over(await StartMarten("a"));
        Assert.Null(await commands.Execute("left", Ann, new IssueToken("01", "first", "ann", ["member"], "00"), None));
        Assert.IsType<ApiToken.Valid>(await known.State("left", ApiToken.Aggregate, "01", None));
        Assert.IsNotType<ApiToken.Valid>(await known.State("right", ApiToken.Aggregate, "01", None));
        var refused = await commands.Execute("right", Ann, new RevokeToken("01"), None);
        Assert.Equal(404, refused?.Status);
    }

    [Fact]
    public async Task What_makes_the_answer_is_called_in_the_process_that_asks()
    {
        var (_, commands) = Over(await StartMarten("a"));
        var told = default(DateTimeOffset);
        var activity = new System.Diagnostics.Activity("request").Start();
        string? trace = null;
        var issue = new IssueToken("01", "first", "ann", ["member"], "00")
        {
            Issued = now => (told, trace) = (now, System.Diagnostics.Activity.Current?.TraceId.ToHexString()),
        };
        Assert.Null(await commands.Execute(Org, Ann, issue, None));
        activity.Stop();
        Assert.NotEqual(default, told);
        Assert.Equal(activity.TraceId.ToHexString(), trace);
    }

    [Fact]
    public async Task A_command_that_is_called_off_says_so()
    {
        var (_, commands) = Over(await StartMarten("a"));
        using var off = new CancellationTokenSource();
        await off.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
            await commands.Execute(Org, Ann, new IssueToken("01", "first", "ann", ["member"], "00"), off.Token));
    }

    [Fact]
    public async Task A_job_belongs_to_the_tenant_that_its_message_names()
    {
        var node = await Open("a");
        await using var worker = new Worker(node);
        foreach (var org in (string[])["left", "right"])
        {
            await node.Log.Append(new(org, [new Chain(org, "run-1").Next("started")], [new("run", "1")], null, Chain.By), None);
        }
        var claims = new[] { await worker.Next(), await worker.Next() };
        Assert.Equal(["left", "right"], claims.Select(c => c.Org).Order());
    }

    [Fact]
    public async Task A_job_that_fails_again_and_again_is_a_dead_letter_until_it_is_replayed()
    {
        var engine = await StartMarten("a", TimeSpan.FromMilliseconds(100));
        var node = NodeOf(engine);
        await using var worker = new Worker(node);
        await Submit(node, "run-1", new Job("run", "1"));
        await GiveUp(node, worker, letters: 1);
        var letters = engine.DeadLetters;
        var dead = Assert.Single(await letters.List(Org, None));
        Assert.Equal((Org, "run", "1", "System.InvalidOperationException", "attempt 2"), (dead.OrgId, dead.Kind, dead.Key, dead.Exception, dead.Message));
        Assert.Empty(await letters.List("other", None));
        Assert.Equal(0, await letters.Replay("other", [dead.Id], None));
        await worker.AssertNothing();

        Assert.Equal(1, await letters.Replay(Org, [dead.Id], None));
        await node.Jobs.Complete(await worker.Next(), None);
        Assert.Empty(await letters.List(Org, None));
        Assert.Equal(0, await Count("jobs"));
        await worker.AssertNothing();
    }

    [Fact]
    public async Task A_dead_letter_that_is_discarded_takes_its_job_along()
    {
        var engine = await StartMarten("a", TimeSpan.FromMilliseconds(100));
        var node = NodeOf(engine);
        await using var worker = new Worker(node);
        await Submit(node, "run-1", new Job("run", "1"));
        await GiveUp(node, worker, letters: 1);
        var dead = Assert.Single(await engine.DeadLetters.List(null, None));
        Assert.False(await engine.DeadLetters.Discard("other", dead.Id, None));
        Assert.True(await engine.DeadLetters.Discard(Org, dead.Id, None));
        Assert.False(await engine.DeadLetters.Discard(Org, dead.Id, None));
        Assert.Equal((0L, 0L), (await Count("jobs"), await Count("wolverine_dead_letters")));
    }

    [Fact]
    public async Task A_tenants_many_dead_letters_hide_no_other_tenants()
    {
        var engine = await StartMarten("a", TimeSpan.FromMilliseconds(100));
        var node = NodeOf(engine);
        await using var worker = new Worker(node);
        await Submit(node, "run-1", new Job("run", "1"));
        Assert.IsType<AppendResult.Ok>(await node.Log.Append(new("other", [new Chain("other", "run-2").Next("started")], [new("run", "2")], null, Chain.By), None));
        await GiveUp(node, worker, letters: 2);
        var many = (await engine.DeadLetters.List(Org, None)).Single();
        await using (var connection = new NpgsqlConnection(connectionString))
        {
            await connection.OpenAsync();
            // Whatever they are listed by, a thousand come before the other tenant's.
            await using var copy = new NpgsqlCommand(
                """
                INSERT INTO cowork.wolverine_dead_letters
                SELECT (jsonb_populate_record(d, jsonb_build_object(
                    'id', gen_random_uuid(), 'sent_at', d.sent_at + hours * interval '1 hour', 'execution_time', d.execution_time + hours * interval '1 hour'))).*
                FROM cowork.wolverine_dead_letters d, unnest(array[-1, 1]) hours, generate_series(1, 1000) WHERE d.id = $1
                """,
                connection) { Parameters = { new() { Value = many.Id } } };
            Assert.Equal(2_000, await copy.ExecuteNonQueryAsync());
        }
        Assert.Equal("2", Assert.Single(await engine.DeadLetters.List("other", None)).Key);
        Assert.Equal(1_000, (await engine.DeadLetters.List(Org, None)).Count);
        Assert.Equal(1_000, (await engine.DeadLetters.List(null, None)).Count);
    }

    [Fact]
    public async Task A_job_that_was_put_aside_comes_back_when_it_is_asked_for_again()
    {
        var node = NodeOf(await StartMarten("a", TimeSpan.FromMilliseconds(100)));
        await using var worker = new Worker(node);
        await Submit(node, "run-1", new Job("run", "1"));
        await GiveUp(node, worker, letters: 1);
        await Submit(node, "run-2", new Job("run", "1"));
        await node.Jobs.Complete(await worker.Next(), None);
    }

    [Fact]
    public async Task A_job_of_a_later_time_is_a_scheduled_message_and_fires_then()
    {
        var node = await Open("a");
        await using var worker = new Worker(node);
        var due = TimeProvider.System.GetUtcNow() + TimeSpan.FromSeconds(4);
        await Submit(node, "run-1", new Job("later", "1", due));
        Assert.Equal(1, await Count("wolverine_incoming_envelopes WHERE status = 'Scheduled' AND message_type = 'cowork.job_due'"));
        await worker.Next();
        Assert.InRange(TimeProvider.System.GetUtcNow(), due - TimeSpan.FromMilliseconds(50), due + Deadline);
    }

    [Fact]
    public async Task Jobs_that_the_other_engine_left_are_done_here()
    {
        var npgsql = NodeOf(await StartNpgsql("a"));
        await Submit(npgsql, "run-1", new Job("run", "1"), new Job("later", "2", TimeProvider.System.GetUtcNow() + TimeSpan.FromSeconds(6)));
        await npgsql.Stop();
        var marten = await Open("b");
        await using var worker = new Worker(marten);
        Assert.Equal("1", (await worker.Next()).Key);
        Assert.Equal("2", (await worker.Next()).Key);
    }

    [Fact]
    public async Task Jobs_that_are_left_here_are_done_by_the_other_engine_even_those_put_aside()
    {
        var marten = NodeOf(await StartMarten("a", TimeSpan.FromMilliseconds(100)));
        await using (var worker = new Worker(marten))
        {
            await Submit(marten, "run-0", new Job("run", "0"));
            await GiveUp(marten, worker, letters: 1);
        }
        await Submit(marten, "run-1", new Job("run", "1"), new Job("later", "2", TimeProvider.System.GetUtcNow() + TimeSpan.FromSeconds(1)));
        await marten.Stop();
        var npgsql = NodeOf(await StartNpgsql("b"));
        await using var other = new Worker(npgsql);
        var keys = new[] { (await other.Next()).Key, (await other.Next()).Key, (await other.Next()).Key };
        Assert.Equal(["0", "1", "2"], keys.Order());
    }

    [Fact]
    public async Task More_jobs_than_may_be_done_at_once_wait_their_turn()
    {
        var engine = await StartMarten("a", parallel: 4);
        var node = NodeOf(engine);
        var (running, most, done) = (0, 0, 0);
        var all = new TaskCompletionSource();
        var runner = new JobRunner(
            node.Jobs, [new Handler("run", async () =>
            {
                most = Math.Max(most, Interlocked.Increment(ref running));
                await Task.Delay(20);
                Interlocked.Decrement(ref running);
                if (Interlocked.Increment(ref done) == 60)
                {
                    all.SetResult();
                }
            })],
            4, TimeProvider.System, Microsoft.Extensions.Logging.Abstractions.NullLogger<JobRunner>.Instance);
        using var stop = new CancellationTokenSource();
        var work = runner.Run(stop.Token);
        for (var i = 0; i < 60; i++)
        {
            await Submit(node, $"run-{i}", new Job("run", $"{i}"));
        }
        await all.Task.WaitAsync(Deadline);
        await Eventually(async () => await Count("jobs") == 0, "all are done");
        Assert.InRange(most, 1, 4);
        await stop.CancelAsync();
        await work;
    }

    protected override async Task<Node> Open(string name, ICommitObserver? observer = null, params string[] dead) => NodeOf(await StartMarten(name));

    async Task<MartenEngine> StartMarten(string name, TimeSpan? retry = null, int parallel = 1_000)
    {
        var options = new EngineOptions(connectionString, name, [.. ReadModels.All, Chain.Tallies]) { Lease = Lease, Heartbeat = Lease / 6, Parallel = parallel };
        var engine = new MartenEngine(retry is { } pause ? options with { JobRetries = [pause] } : options);
        await engine.StartAsync(None);
        engines.Add(engine);
        return engine;
    }

    async Task<NpgsqlEngine> StartNpgsql(string name)
    {
        var engine = new NpgsqlEngine(new(connectionString, name, [.. ReadModels.All, Chain.Tallies]) { Lease = Lease, Heartbeat = Lease / 6 });
        await engine.StartAsync(None);
        engines.Add(engine);
        return engine;
    }

    static (CommandHandler Known, ICommandExecutor Sent) Over(MartenEngine engine)
    {
        var commands = new CommandHandler(engine.Log, engine.Snapshots, [.. ReadModels.All, Chain.Tallies], TimeProvider.System, CronTimes.Next);
        return (commands, engine.Over(commands));
    }

    /// <summary>Fails the jobs that come, each as often as <see cref="StartMarten"/> lets it when told one pause, until there are so many dead letters.</summary>
    async Task GiveUp(Node node, Worker worker, int letters)
    {
        var failed = new Dictionary<string, int>();
        for (var i = 0; i < 2 * letters; i++)
        {
            var claim = await worker.Next();
            var attempt = failed[claim.Key] = failed.GetValueOrDefault(claim.Key) + 1;
            await node.Jobs.Fail(claim, new InvalidOperationException($"attempt {attempt}"), None);
        }
        await Eventually(async () => await Count("wolverine_dead_letters") == letters, "the dead letters appear");
    }

    async Task<long> Count(string table)
    {
        await using var connection = new NpgsqlConnection(connectionString);
        await connection.OpenAsync();
        await using var command = new NpgsqlCommand($"SELECT count(*) FROM cowork.{table}", connection);
        return (long)(await command.ExecuteScalarAsync())!;
    }

    sealed record Unknown : ICommand
    {
        public ValueTask<Refusal?> Decide(UnitOfWork work) => default;
    }

    sealed class Handler(string kind, Func<Task> work) : IJobHandler
    {
        public string Kind => kind;

        public async Task<bool> Run(Claim claim, CancellationToken ct)
        {
            await work();
            return false;
        }
    }
}
