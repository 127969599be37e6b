using System.Runtime.CompilerServices;

using Cowork.Application.Models;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Testing;

using Microsoft.Extensions.AI;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>A host whose model is asked over HTTP, and the provider that answers.</summary>
sealed class ModelHarness : IAsyncDisposable
{
    public const string Key = "sk-do-not-tell-4711";

    static readonly TimeSpan Deadline = Patience.Limit;

    static readonly TimeSpan ClockStep = TimeSpan.FromSeconds(1);

    readonly CancellationTokenSource stopping = new();
    readonly ModelCatalog catalog;
    readonly Task working;

    /// <param name="notes">The model is asked for the notes of its runs, too.</param>
    /// <param name="policy">Null: the built-in one.</param>
    /// <param name="limits">Null: those of every run.</param>
    public ModelHarness(string provider, Func<ModelSettings, ModelSettings>? change = null, bool notes = false, Policy? policy = null, RunLimits? limits = null)
    {
        Harness = new()
        {
            Options = new() { DefaultModel = "clever", Limits = limits ?? RunLimits.Default },
            Memory = new() { NotesByModel = notes },
            Policy = policy ?? Policy.BuiltIn,
        };
        Wire = Dialect.Of(provider);
        var settings = new ModelSettings
        {
            Name = "clever",
            Provider = provider,
            Model = "m",
            BaseUrl = Server.Url,
            Key = Key,
            Price = new(2, 8, 0.5m),
            MaxOutputTokens = 300,
        };
        catalog = new([change?.Invoke(settings) ?? settings], new(Workspace.Files(), Harness.Clock), Harness.Clock);
        Harness.Models["clever"] = catalog.Clients["clever"];
        Host = Harness.AddHost("n0");
        working = Host.Work(stopping.Token);
    }

    public Dialect Wire { get; }

    public ModelServer Server { get; } = new();

    public RunHarness Harness { get; }

    public RunHarness.Host Host { get; }

    public IChatClient Client => catalog.Clients["clever"];

    public TestClock Clock => Harness.Clock;

    /// <summary>Starts a run.</summary>
    public async Task<RunKey> Send(string message = "hello", string session = "s")
    {
        await Host.OpenSession(session);
        return await Host.Send(session, message);
    }

    /// <summary>
    /// A run from its turn to its end. The clock goes on while the run waits for its next attempt, and stands while a request is on its way: on a busy machine that
    /// takes so long that the request's own deadlines would pass.
    /// </summary>
    public async Task<IReadOnlyList<RunEvent>> Run(string message = "hello", string session = "s") => await Ended(await Send(message, session));

    public async Task<IReadOnlyList<RunEvent>> Ended(RunKey run)
    {
        await Until(async () =>
        {
            var last = (await Events(run))[^1];
            if (last is RunEvent.ModelRetried { WaitMs: var ms } && TimeSpan.FromMilliseconds(ms) is var wait && Clock.IsWaiting(wait))
            {
                // In steps that are shorter than a lease, so that it is renewed.
                Clock.Advance(wait < ClockStep ? wait : ClockStep);
            }
            return last is RunEvent.RunCompleted or RunEvent.RunFailed or RunEvent.RunCancelled;
        });
        var (report, fault) = TraceVerifier.Verify(await TraceBundle.Build(Harness.Engine, Harness.Blobs, RunHarness.Org, new("s"), run, default));
        Assert.Null(fault);
        Assert.NotNull(report);
        foreach (var model in ReadModels.All)
        {
            Assert.Null(await ((IRows)Harness.Engine).FindDifference(model, default));
        }
        return await Events(run);
    }

    public async Task<IReadOnlyList<RunEvent>> Events(RunKey run) =>
        [.. (await Harness.Engine.Load(RunHarness.Org, $"run-{run.Value}", 0, int.MaxValue, default)).Events.Select(e => (RunEvent)e.Event)];

    public Task<string> Text(Content content) => Harness.Blobs.Text(content, default).AsTask();

    /// <summary>Waits until something holds; the clock goes on by a step at each look.</summary>
    public async Task Until(Func<Task<bool>> holds, TimeSpan step = default, [CallerArgumentExpression(nameof(holds))] string what = "")
    {
        var (passes, last) = (TimeSpan.Zero, "");
        await Patience.Until(
            async () =>
            {
                Clock.Advance(passes);
                passes = step;
                if (await holds())
                {
                    return true;
                }
                last = string.Join(", ", (await Harness.Engine.Feed(RunHarness.Org, null, 0, int.MaxValue, default)).Entries.TakeLast(6).Select(e => $"{e.Stream} {e.Type}"));
                return false;
            },
            () => $"{Server.Asked.Count} requests; last events: {last}; jobs: {string.Join(", ", Harness.Engine.Jobs)}",
            what, pause: 1);
    }

    public async ValueTask DisposeAsync()
    {
        await stopping.CancelAsync();
        await Server.DisposeAsync();
        try
        {
            await working.WaitAsync(Deadline);
        }
        catch (OperationCanceledException)
        {
            // It was told to.
        }
        catalog.Dispose();
        stopping.Dispose();
    }
}
