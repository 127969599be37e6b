using System.Collections.Concurrent;
using System.Collections.Immutable;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Marten;
using Cowork.Projections;
using Cowork.Web;

namespace Cowork.Bench;

/// <summary>The engine with the application's commands on it, without a host: appends and durable runs in process.</summary>
sealed class StorageBench : IJobDispatcher, IAsyncDisposable
{
    const string Org = "default";

    /// <summary>Single-event commits to one run's stream before the next run's is begun, so that the folded text stays small.</summary>
    public const int PerStream = 100;

    static readonly Origin By = new("user:bench");

    readonly StorageEngine engine;
    readonly CommandHandler commands;
    readonly ConcurrentDictionary<string, TaskCompletionSource<Claim>> claims = new();

    StorageBench(StorageEngine engine, CommandHandler commands) => (this.engine, this.commands) = (engine, commands);

    public StorageEngine Engine => engine;

    public CommandHandler Commands => commands;

    /// <param name="blobs">Folder of the blob store.</param>
    public static async Task<StorageBench> Start(string connectionString, string blobs)
    {
        var engine = StorageEngine.New(
            new(Roles.Host(connectionString), "bench", ReadModels.Tables) { OwnerConnectionString = connectionString, Parallel = 1_250 });
        await engine.StartAsync(CancellationToken.None);
        var bench = new StorageBench(engine, new(engine.Log, engine.Snapshots, new FileBlobs(blobs), ReadModels.All, TimeProvider.System, CronTimes.Next));
        engine.Jobs.StartDispatching(bench);
        return bench;
    }

    /// <summary>One event, one commit: stream, event, feed row, run summary, hash.</summary>
    public Task<Measured> Appends(int inFlight, TimeSpan time, ProcessCpu cpu)
    {
        var runs = new RunKey[inFlight];
        return Load.Run(inFlight, TimeSpan.FromSeconds(2), time, cpu, (worker, i) => Append(runs, worker, i));
    }

    /// <summary>Appends so many events in the same way.</summary>
    public Task Fill(int inFlight, long events)
    {
        var runs = new RunKey[inFlight];
        var made = 0L;
        return Task.WhenAll(Enumerable.Range(0, inFlight).Select(worker => Task.Run(async () =>
        {
            for (var i = 0; Interlocked.Increment(ref made) <= events; i++)
            {
                await Append(runs, worker, i);
            }
        })));
    }

    async Task Append(RunKey[] runs, int worker, int i)
    {
        if (i % PerStream == 0)
        {
            runs[worker] = RunKey.New(DateTimeOffset.UnixEpoch);
        }
        var run = runs[worker];
        var session = SessionKey.Own($"bench{worker}");
        var refused = await commands.Commit(
            Org, By,
            work => work.Do(
                Run.Aggregate, run,
                (i % PerStream) switch
                {
                    0 => (RunCommand)new RunCommand.Create(run, session, Content.Of("hello"), "offline", null, work.Now),
                    1 => new RunCommand.Start(1, "bench", work.Now),
                    _ => new RunCommand.RecordText(1, "forty characters of text, more or less.", work.Now),
                },
                session),
            CancellationToken.None);
        Require(refused);
    }

    /// <summary>
    /// A durable three-step run at the port: accepted with its job, begun, a step recorded, ended with the job finished: four durable waits, five events.
    /// </summary>
    public Task<Measured> Runs(int inFlight, TimeSpan time, ProcessCpu cpu) =>
        Load.Run(inFlight, TimeSpan.FromSeconds(2), time, cpu, async (worker, _) =>
        {
            var run = RunKey.New(DateTimeOffset.UnixEpoch);
            var session = SessionKey.Own($"runs{worker}");
            var claimed = claims.GetOrAdd(run.Value, _ => new(TaskCreationOptions.RunContinuationsAsynchronously));
            Require(await commands.Commit(
                Org, By,
                async work =>
                {
                    work.Start(new(Run.Aggregate.Name, run.Value));
                    return await work.Do(Run.Aggregate, run, new RunCommand.Create(run, session, Content.Of("hello"), "offline", null, work.Now), session, run);
                },
                CancellationToken.None));
            var claim = await claimed.Task;
            claims.TryRemove(run.Value, out TaskCompletionSource<Claim>? _);
            Require(await Do(now => new RunCommand.Start(claim.Epoch, "bench", now)));
            Require(await Do(now => new RunCommand.RecordMemory(claim.Epoch, [], ImmutableList<RunKey>.Empty, now)));
            Require(await commands.Commit(
                Org, By,
                async work =>
                {
                    work.Finish(claim);
                    return await work.Do(Run.Aggregate, run, new RunCommand.Cancel(work.Now), session, run)
                        ?? await work.Do(Run.Aggregate, run, new RunCommand.ConfirmCancel(claim.Epoch, work.Now), session, run);
                },
                CancellationToken.None));

            ValueTask<Refusal?> Do(Func<DateTimeOffset, RunCommand> command) =>
                commands.Commit(Org, By, work => work.Do(Run.Aggregate, run, command(work.Now), session), CancellationToken.None);
        });

    /// <summary>Reads feeds of sessions from their beginning in pages of 500; an operation is a page.</summary>
    public async Task<(Measured Pages, long Events)> FeedReads(int readers, TimeSpan time, ProcessCpu cpu)
    {
        var cursors = new long[readers];
        var events = 0L;
        var pages = await Load.Run(readers, TimeSpan.FromSeconds(1), time, cpu, async (worker, _) =>
        {
            var page = await engine.Log.Feed(Org, new($"bench{worker}"), cursors[worker], 500, CancellationToken.None);
            Interlocked.Add(ref events, page.Entries.Count);
            cursors[worker] = page.Entries.Count < 500 ? 0 : page.Entries[^1].FeedId;
        });
        return (pages, events);
    }

    public bool Dispatch(Claim claim)
    {
        claims.GetOrAdd(claim.Key, _ => new(TaskCreationOptions.RunContinuationsAsynchronously)).TrySetResult(claim);
        return true;
    }

    public async ValueTask DisposeAsync()
    {
        engine.Jobs.StopDispatching();
        await engine.DisposeAsync();
    }

    static void Require(Refusal? refused)
    {
        if (refused is not null)
        {
            throw new InvalidOperationException($"{refused.Code}: {refused.Detail}");
        }
    }
}
