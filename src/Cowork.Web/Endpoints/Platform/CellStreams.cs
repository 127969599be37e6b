using System.Buffers;
using System.Collections.Immutable;
using System.Globalization;
using System.IO.Pipelines;
using System.Runtime.CompilerServices;
using System.Text;
using System.Text.Json;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Web.Endpoints.AgentService;
using Cowork.Web.Http;

using static Cowork.Domain.ScratchpadEvent;

namespace Cowork.Web.Endpoints.Platform;

/// <summary>An execution of a cell in its scratchpad's stream.</summary>
/// <param name="Since">Version of the event that queued it.</param>
public sealed record CellExecution(string Org, SessionKey Session, ScratchpadKey Scratchpad, CellKey Cell, long Since);

/// <summary>
/// The executions of cells as streams of events. They are a fold of the scratchpad's stream from the event that queued the execution on, so that a stream that is read
/// again, on any host and at any time, has the same events with the same ids.
/// </summary>
public sealed class CellStreams(EventStream stream, IEventLog log, FeedHub hub, IBlobs blobs)
{
    /// <summary>An event's id is the version that began the execution times this, and the event's number: who has it resumes that execution, and no later one.</summary>
    const long IdsOfExecution = 1_000_000;

    const int PageMax = 200;

    /// <summary>Sends the events of an execution as they happen, until it has ended.</summary>
    /// <param name="place">Of <see cref="EventStream.Open"/>.</param>
    /// <param name="after">Events after this number; -1: all.</param>
    public Task<IResult> Follow(HttpContext http, OpenStreams.Place place, CellExecution execution, long after = -1)
    {
        var sent = after;
        return stream.Send(
            http, place, ct => After(execution, sent, ct),
            (output, e) =>
            {
                sent = e.Event.SequenceNumber;
                Write(output, execution, e.Event);
                return e.Event.Type != CellEventTypes.Completed;
            },
            e => e.At);
    }

    /// <summary>The place that an event's id names: the execution, and the number of the event.</summary>
    public static (long Since, long Number) Place(long id) => (id / IdsOfExecution, id % IdsOfExecution);

    /// <summary>How many events an execution has so far, and whether they are all; null: no execution of the cell begins there.</summary>
    public async ValueTask<(long Count, bool HasEnded)?> Known(CellExecution execution, CancellationToken ct)
    {
        var fold = new Fold(execution);
        await foreach (var entry in There(execution, ct))
        {
            await fold.Add(entry, blobs, ct);
            if (!fold.HasBegun)
            {
                return null;
            }
            if (fold.HasEnded)
            {
                break;
            }
        }
        return fold.HasBegun ? (fold.Next, fold.HasEnded) : null;
    }

    /// <summary>The outputs of an execution that is under way.</summary>
    /// <param name="position">As of this position of the log; null: now.</param>
    public async ValueTask<ImmutableList<NotebookOutput>> Outputs(CellExecution execution, long? position, CancellationToken ct)
    {
        var fold = new Fold(execution);
        await foreach (var entry in There(execution, ct))
        {
            if (entry.Position > position)
            {
                break;
            }
            await fold.Add(entry, blobs, ct);
        }
        return fold.Outputs.Items;
    }

    /// <summary>What became of an execution, which is awaited, and its outputs.</summary>
    public async Task<(CellResult Result, ImmutableList<NotebookOutput> Outputs)> Completed(CellExecution execution, CancellationToken ct)
    {
        var fold = new Fold(execution);
        await foreach (var entry in Following(execution, ct))
        {
            await fold.Add(entry.Type, entry.Read(), blobs, ct);
            if (fold.Result is { } result)
            {
                return (result, fold.Outputs.Items);
            }
        }
        throw new OperationCanceledException(ct);
    }

    IAsyncEnumerable<FeedEntry> Following(CellExecution execution, CancellationToken ct) =>
        hub.FollowStream(execution.Org, execution.Session, Scratchpad.Aggregate.Stream(execution.Scratchpad), execution.Since - 1, ct);

    async IAsyncEnumerable<(CellEvent Event, DateTimeOffset At)> After(CellExecution execution, long after, [EnumeratorCancellation] CancellationToken ct)
    {
        var fold = new Fold(execution);
        await foreach (var entry in Following(execution, ct))
        {
            foreach (var e in await fold.Add(entry.Type, entry.Read(), blobs, ct))
            {
                if (e.SequenceNumber > after)
                {
                    yield return (e, entry.At);
                }
            }
        }
    }

    /// <summary>What is there of the stream from the execution's beginning on.</summary>
    async IAsyncEnumerable<RecordedEvent> There(CellExecution execution, [EnumeratorCancellation] CancellationToken ct)
    {
        var last = execution.Since - 1;
        while (await log.Load(execution.Org, Scratchpad.Aggregate.Stream(execution.Scratchpad), last, PageMax, ct) is { Events: [_, ..] events })
        {
            foreach (var e in events)
            {
                last = e.Version;
                yield return e;
            }
            if (events.Count < PageMax)
            {
                yield break;
            }
        }
    }

    static void Write(PipeWriter output, CellExecution execution, CellEvent e)
    {
        var id = (execution.Since * IdsOfExecution) + e.SequenceNumber;
        output.Write(Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"id: {id}\nevent: {e.Type}\ndata: ")));
        var form = PlatformJson.Answers.CellEvent;
        using (var json = new Utf8JsonWriter((IBufferWriter<byte>)output, form.Writing()))
        {
            JsonSerializer.Serialize(json, e, form);
        }
        output.Write("\n\n"u8);
    }

    /// <summary>The events of one execution.</summary>
    sealed class Fold(CellExecution of)
    {
        int execution;
        bool isStateLost;

        public CellOutputs Outputs { get; private set; } = CellOutputs.None;

        public long Next { get; private set; }

        public bool HasBegun => execution > 0;

        /// <summary>Null: it has not ended.</summary>
        public CellResult? Result { get; private set; }

        public bool HasEnded => Result is not null;

        public ValueTask<IReadOnlyList<CellEvent>> Add(RecordedEvent e, IBlobs blobs, CancellationToken ct) => Add(e.Type, e.Event, blobs, ct);

        /// <summary>What an event of the scratchpad's stream adds; those of other executions add nothing.</summary>
        public async ValueTask<IReadOnlyList<CellEvent>> Add(string type, Event happened, IBlobs blobs, CancellationToken ct)
        {
            if (HasEnded)
            {
                return [];
            }
            var events = new List<CellEvent>();
            switch (happened)
            {
                case CellQueued q when !HasBegun && q.CellId == of.Cell:
                    execution = q.Execution;
                    events.Add(Of(CellEventTypes.Queued) with { Ahead = q.Ahead });
                    break;
                case CellStarted s when s.Execution == execution:
                    isStateLost = s.Attempt > 1 || s.IsStateLost == true;
                    events.Add(Of(CellEventTypes.Started) with { Attempt = s.Attempt, StateLost = isStateLost });
                    if (!Outputs.Items.IsEmpty)
                    {
                        events.AddRange(Of(new OutputChange.Cleared()));
                    }
                    Outputs = CellOutputs.None;
                    break;
                case CellOutput o when o.Execution == execution:
                    foreach (var message in OutputJson.ReadMessages(await blobs.Text(o.Messages, ct)))
                    {
                        (Outputs, var changes) = Outputs.Add(message);
                        events.AddRange(changes.SelectMany(Of));
                    }
                    break;
                case CellCompleted c when c.Execution == execution:
                    Result = c.Result;
                    events.Add(Of(CellEventTypes.Completed) with
                    {
                        Status = c.Result.Error is null ? "success" : "error",
                        Error = c.Result.Error?.Message,
                        ErrorCode = c.Result.Error?.Code,
                        DurationMs = c.Result.DurationMs ?? 0,
                        Truncated = c.Result.Truncated,
                        StateLost = isStateLost || c.IsStateLost,
                        Outputs = OutputEntry.Of(Outputs.Items),
                    });
                    break;
                default:
                    return [];
            }
            for (var i = 0; i < events.Count; i++)
            {
                events[i] = events[i] with { SequenceNumber = Next++ };
            }
            return events;
        }

        CellEvent Of(string type) => new(type, 0, of.Scratchpad, of.Cell, execution);

        IEnumerable<CellEvent> Of(OutputChange change) => OutputAction.Of(change).Select(action => Of(action.Name, action.Entry));

        CellEvent Of(string action, OutputEntry? entry) => Of(CellEventTypes.Output) with { Action = action, Output = entry };
    }
}

/// <summary>Types of a cell's events.</summary>
static class CellEventTypes
{
    public const string Queued = "cell.queued";
    public const string Started = "cell.started";
    public const string Output = "cell.output";
    public const string Completed = "cell.completed";
}
