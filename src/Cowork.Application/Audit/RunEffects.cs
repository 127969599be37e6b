using System.Security.Cryptography;
using System.Text;

using Cowork.Application.Storage;
using Cowork.Domain;

using static Cowork.Domain.ArtifactEvent;
using static Cowork.Domain.BudgetEvent;
using static Cowork.Domain.MemoryEvent;
using static Cowork.Domain.RunEvent;

namespace Cowork.Application;

/// <summary>
/// Makes anew what a run left in other streams, beside the replay of its own: artifacts with their digests, memories and notes, and what the tenant's budget reserved and settled
/// for its calls of models. Each follows from the run's events; what only the world knew is taken from the record: contents of files that a tool did not tell, the words of a
/// model that was asked for notes, and how long a prompt was estimated to be.
/// </summary>
/// <param name="run">The run, or of a counterfactual the one that it goes off from.</param>
/// <param name="isPast">It is the beginning of another run. Its budget is not looked at, and what its record lacks is told and no divergence.</param>
/// <param name="unproved">Takes what the record does not have: the part and the reason.</param>
public sealed class RunEffects(IRunRecord record, RunKey run, IAsyncEnumerable<RecordedEvent> effects, bool isPast, Action<string, string> unproved, CancellationToken ct)
    : IAsyncDisposable
{
    /// <summary>Entries of a list in one report.</summary>
    public const int ListMax = 200;

    const string NoNotes = "The settings that the run was driven under are not recorded, and with them the rule by which notes are made.";

    const string NoReservations = "The record has no reservation for a call with a cost, and does not say what the model costs.";

    const string NoPast = "The record does not have what the common past left in other streams.";

    readonly IRunRecord record = record;
    readonly CancellationToken ct = ct;
    readonly RecordedBlobs blobs = new(record);
    readonly IAsyncEnumerator<RecordedEvent> recorded = effects.GetAsyncEnumerator(ct);
    readonly Dictionary<string, (long Version, Artifact State)> artifacts = new(StringComparer.Ordinal);
    readonly Dictionary<string, ArtifactDiscovered> owed = new(StringComparer.Ordinal);
    readonly Dictionary<string, HeldReservation> held = new(StringComparer.Ordinal);
    readonly HashSet<MemoryKey> written = [];
    readonly List<ReplayedArtifact> madeArtifacts = [];
    readonly List<ReplayedMemory> madeMemories = [];
    RecordedEvent? ahead;
    RunRequest? request;
    RecordedEvent? last;
    MadeCall? call;
    (int Step, RequestedCall Asked)? stopped;
    FinishedTurn? turn;
    RecordedEvent? completed;
    long judged;
    (long Spent, bool IsKnown) ofNotes = (0, true);
    long input, output, cost;
    int more;
    bool isRead;

    /// <summary>Types of the events that are made anew.</summary>
    public static bool Is(string type) => EventTypes.Is<ArtifactDiscovered>(type) || EventTypes.Is<MemoryWritten>(type) || EventTypes.Is<BudgetReserved>(type)
        || EventTypes.Is<BudgetSettled>(type);

    /// <summary>The settings under which the run is driven from now on; null: they are not recorded.</summary>
    public RunSettings? Settings { get; set; }

    /// <summary>Steps of the run that were replayed so far.</summary>
    public int Steps { get; set; }

    /// <summary>What the run used and left, as far as it was made anew.</summary>
    public ReplayedEffects Report() => new(input, output, Money.Usd(cost), madeArtifacts, madeMemories, more);

    public ValueTask DisposeAsync() => recorded.DisposeAsync();

    /// <summary>Judges what lies before an event of the run's own stream.</summary>
    /// <param name="position">Its position in the log.</param>
    public async ValueTask Before(long position, Run state)
    {
        while (await Next(position) is { } e)
        {
            ahead = null;
            switch (e.Event)
            {
                case ArtifactDiscovered artifact:
                    Judge(e, artifact, state);
                    break;
                case MemoryWritten memory:
                    await Judge(e, memory, state);
                    break;
                case BudgetReserved reserved:
                    Judge(e, reserved, state);
                    break;
                case BudgetSettled settled:
                    Judge(e, settled, state);
                    break;
            }
        }
    }

    /// <summary>Takes an event of the run's own stream into account.</summary>
    /// <param name="before">The state without it.</param>
    public async ValueTask After(RecordedEvent e, Run before)
    {
        var active = before as Run.Active;
        switch (e.Event)
        {
            case RunCreated:
                request = ((Run.Queued)Run.Evolve(before, (RunEvent)e.Event)).Request;
                break;
            case RunResumed:
                foreach (var reservation in held.Values)
                {
                    reservation.IsLost = true;
                }
                break;
            case PolicyDecision:
                judged = e.Version;
                break;
            // What a counterfactual was served from the record has cost the other run.
            case LlmResponse { Source: null } answer:
                (input, output, cost) = (input + answer.InputTokens, output + answer.OutputTokens, cost + (answer.CostMicroUsd ?? 0));
                Outcome(e, answer.CostMicroUsd, isAnswer: true, before);
                break;
            case ModelRetried { Usage: var used }:
                Use(used);
                Outcome(e, used?.CostMicroUsd, isAnswer: false, before);
                break;
            case RunFailed or RunCancelled:
                var ofAttempt = (e.Event as RunFailed)?.Usage;
                Use(ofAttempt);
                Outcome(e, ofAttempt?.CostMicroUsd, isAnswer: false, before);
                // A lost driver may keep it yet.
                stopped = active is { Allowed: true, Open: [{ Name: "remember" } asked, ..] } ? (active.StepsDone + 1, asked) : null;
                break;
            case ToolResult { Source: null or Counterfactual.Live } result when active is { Allowed: true, Open: [var made, ..] }:
                RequireAllWritten(before);
                call = await Made(e, result, made);
                await Owe(before);
                break;
            case RunCompleted when active is { Reply: { } reply }:
                (completed, turn) = (e, await FinishedTurn.Of(active, reply, blobs, ct));
                break;
        }
        last = e;
    }

    /// <summary>Judges what lies behind the run's last event, and that nothing is missing.</summary>
    public async ValueTask End(Run state)
    {
        await Before(long.MaxValue, state);
        RequireAllWritten(state);
        RequireSettled(state);
        if (isPast || completed is null || request is not { Counterfactual: null } || Settings?.NotesByModel is not { } asked || asked.Contains(request.Model))
        {
            return;
        }
        // What is noted by rule is in the commit of the run's end.
        foreach (var note in Notes())
        {
            if (!written.Contains(note.MemoryId))
            {
                Miss("memory", completed, note, state);
            }
        }
    }

    async ValueTask<RecordedEvent?> Next(long position)
    {
        if (ahead is null && !isRead)
        {
            isRead = !await recorded.MoveNextAsync();
            ahead = isRead ? null : recorded.Current;
        }
        return ahead?.Position < position ? ahead : null;
    }

    /// <summary>A call that was made, with what it says itself of the files that it wrote; null: it does not say.</summary>
    async ValueTask<MadeCall> Made(RecordedEvent e, ToolResult result, RequestedCall asked)
    {
        if (asked.Name == "scratchpad")
        {
            var files = await record.FilesOfCell(run, result.Step, ct);
            return new(e, result, asked, files?.Select(file => new ToldFile(file.Path, file.Sha256, file.Bytes)).ToList());
        }
        if (asked.Name != "write_file")
        {
            return new(e, result, asked, null);
        }
        if (result.IsError || ToolInput.Read(await blobs.Text(asked.Input, ct), out var arguments) is not null
            || ToolInput.Text(arguments, "content", required: true, out _, allowBlank: true) is not { } content)
        {
            return new(e, result, asked, []);
        }
        var bytes = Encoding.UTF8.GetBytes(content);
        var path = ToolInput.Text(arguments, "path", required: true, out _) ?? "";
        // A path that is spelt another way than the result shows it leads to a name that only the folder knew.
        var isPlain = result.Content is Content.Inline said && said.Text == $"Wrote {path} ({bytes.Length} bytes)." && OutputRoot.Contains(path);
        return new(e, result, asked, [new(isPlain ? path : null, Convert.ToHexStringLower(SHA256.HashData(bytes)), bytes.Length, bytes)]);
    }

    /// <summary>Notes the artifacts that the call must have left, with its result or before.</summary>
    async ValueTask Owe(Run state)
    {
        var made = call!;
        if (made.Result is { IsError: false, Name: "remember" } && !written.Contains(KeyOf(made.Result.Step)))
        {
            if (await Remembered(made.Recorded.Version - 1, made.Recorded.At, made.Asked, made.Result.Step, null) is { } memory)
            {
                Miss("memory", made.Recorded, memory, state);
            }
        }
        foreach (var file in made.Files ?? [])
        {
            if (file.Path is not null
                && !(artifacts.TryGetValue(Artifact.Aggregate.Stream(Artifact.KeyOf(request!.SessionId, file.Path)), out var known)
                    && known.State is Artifact.Kept kept && kept.RunId == run && kept.Sha256 == file.Sha256))
            {
                owed[file.Path] = Discovered(made, file, null, known.State ?? new Artifact.None())!;
            }
        }
    }

    /// <summary>The artifact of a file that a call wrote; null: the run has it with this content.</summary>
    /// <param name="as">Has what the call does not tell; null: there is no record of it.</param>
    ArtifactDiscovered? Discovered(MadeCall made, ToldFile file, ArtifactDiscovered? @as, Artifact state)
    {
        var path = @as?.Path ?? file.Path!;
        var facts = file.Content is { } content && @as is not { Type: null } ? ArtifactFacts.Of(path, content) : null;
        var discover = new ArtifactCommand.Discover(
            AsRecorded(@as?.ArtifactId, Artifact.KeyOf(request!.SessionId, path)), AsRecorded(@as?.SessionId, request.SessionId), AsRecorded(@as?.RunId, run), path, file.Sha256,
            file.Bytes, OutputRoot.MediaType(path), made.Recorded.At, facts is null ? @as?.Type : facts.Type, facts is null ? @as?.Title : facts.Title, @as?.Project);
        return Artifact.Decide(discover, state).Events is [ArtifactDiscovered discovered] ? discovered : null;
    }

    void Judge(RecordedEvent e, ArtifactDiscovered artifact, Run state)
    {
        if (call is not { } made || made.Recorded.At != e.At)
        {
            throw Diverged("artifact", e, Data(e), "No call of the run writes it.", state);
        }
        var told = made.Files is null ? new ToldFile(artifact.Path, artifact.Sha256, artifact.Bytes)
            : made.Files.FirstOrDefault(file => file.Path == artifact.Path) ?? made.Files.FirstOrDefault(file => file.Path is null)
                ?? throw Diverged("artifact", e, Data(e), $"The call {made.Asked.Id} of {made.Asked.Name} does not write it.", state);
        if (artifacts.TryGetValue(e.Stream, out var known) && known.Version >= e.Version)
        {
            throw Diverged("artifact", e, Data(e), "The run has written it before.", state);
        }
        var before = known.Version > 0 && known.Version == e.Version - 1 ? known.State
            : artifact.Version > 1 ? new Artifact.Kept(null, "", artifact.Version - 1)
            : new Artifact.None();
        var anew = Discovered(made, told, artifact, before) ?? throw Diverged("artifact", e, Data(e), "The run has written the file with this content before.", state);
        Compare("artifact", e, anew, state);
        owed.Remove(artifact.Path);
        artifacts[e.Stream] = (e.Version, Artifact.Evolve(before, anew));
        List(madeArtifacts, new(made.Result.Step, anew.Path, anew.Version, anew.Sha256, anew.Bytes));
    }

    void RequireAllWritten(Run state)
    {
        foreach (var artifact in owed.Values)
        {
            Miss("artifact", call!.Recorded, artifact, state);
        }
        owed.Clear();
    }

    async ValueTask Judge(RecordedEvent e, MemoryWritten memory, Run state)
    {
        if (completed is not null)
        {
            JudgeNote(e, memory, state);
        }
        else
        {
            // A call that is under way keeps its memory before it has a result.
            var (step, asked) = state is Run.Active { Allowed: true, Open: [{ Name: "remember" } first, ..] } active ? (active.StepsDone + 1, first) : stopped ?? default;
            var anew = step > 0 && KeyOf(step) == memory.MemoryId ? await Remembered(last!.Version, e.At, asked, step, memory) : null;
            if (anew is null)
            {
                throw Diverged("memory", e, Data(e), "No call of the run keeps it.", state);
            }
            Compare("memory", e, anew, state);
            List(madeMemories, new(step, anew.MemoryId, anew.Kind, NamedText.Digest(anew.Text)));
        }
        if (!written.Add(memory.MemoryId))
        {
            throw Diverged("memory", e, Data(e), "The run has written it before.", state);
        }
    }

    MemoryKey KeyOf(int step) => new(Ids.KeyOf($"memory {run.Id}:{step}"));

    /// <summary>What a call of <c>remember</c> keeps; null: its arguments say nothing to keep.</summary>
    /// <param name="after">Version of the run's event after which it was kept.</param>
    /// <param name="as">Has what the run's events do not tell; null: there is no record of it.</param>
    async ValueTask<MemoryWritten?> Remembered(long after, DateTimeOffset at, RequestedCall asked, int step, MemoryWritten? @as)
    {
        if (ToolInput.Read(await blobs.Text(asked.Input, ct), out var arguments) is not null || Remember.Content(arguments, out _) is not { } content)
        {
            return null;
        }
        // What persons say to the run may have come while the call was made.
        var from = @as?.Event is { } seen && seen.Version >= judged && seen.Version <= after ? seen.Version : after;
        return new(
            AsRecorded(@as?.MemoryId, KeyOf(step)), Memory.Fact, NamedText.Of(content).Content, request!.SessionId, AsRecorded(@as?.RunId, run), at,
            @as is { Event: null } ? null : new(Run.Aggregate.Stream(run), from), null, @as?.Project, request.Subject ?? @as?.Subject);
    }

    /// <summary>The notes on the run that has completed, as the rule makes them.</summary>
    IEnumerable<MemoryWritten> Notes()
    {
        var from = new EventRef(completed!.Stream, completed.Version);
        var line = SessionNotes.Turn(turn!.Message, turn.Reply);
        yield return new(
            MemoryBook.SummaryKey(request!.SessionId), "session_summary", Content.Of(StorableText.Escape(SessionNotes.Summary(null, line))), request.SessionId, run, completed.At,
            from, Subject: request.Subject);
        if (SessionNotes.Learning(turn.Message, turn.Reply, turn.Results) is { } learning)
        {
            yield return new(
                MemoryBook.LearningKey(run), "learning", Content.Of(StorableText.Escape(learning)), request.SessionId, run, completed.At, from, Subject: request.Subject);
        }
    }

    void JudgeNote(RecordedEvent e, MemoryWritten memory, Run state)
    {
        var isSummary = memory.MemoryId == MemoryBook.SummaryKey(request!.SessionId);
        if ((!isSummary && memory.MemoryId != MemoryBook.LearningKey(run)) || request.Counterfactual is not null)
        {
            throw Diverged("memory", e, Data(e), "No note on the run has this memory.", state);
        }
        var byRule = Notes().FirstOrDefault(note => note.MemoryId == memory.MemoryId);
        Content text;
        if (memory.Notes is { Failure: null })
        {
            // The words of the model that was asked.
            text = memory.Text;
        }
        else if (Settings is null)
        {
            unproved("notes", NoNotes);
            text = memory.Text;
        }
        else if (byRule is null)
        {
            throw Diverged("memory", e, Data(e), "By rule nothing was learned of the run.", state);
        }
        else
        {
            // The lines before the run's own are those of earlier turns.
            var before = isSummary && memory.Text is Content.Inline said ? said.Text[..(said.Text.LastIndexOf('\n') + 1)] : "";
            text = Content.Of(before + ((Content.Inline)byRule.Text).Text);
        }
        var anew = new MemoryWritten(
            memory.MemoryId, isSummary ? "session_summary" : "learning", text, request.SessionId, AsRecorded(memory.RunId, run), e.At,
            memory.Event is null ? null : new(completed!.Stream, completed.Version), NotesOf(memory.Notes, isSummary), memory.Project, request.Subject ?? memory.Subject);
        Compare("memory", e, anew, state);
        List(madeMemories, new(null, anew.MemoryId, anew.Kind, NamedText.Digest(anew.Text)));
    }

    /// <summary>What asking a model for notes came to: whom it asked and what is made anew, and the cost is what was settled for it, told once, with the summary.</summary>
    ModelNotes? NotesOf(ModelNotes? notes, bool isSummary)
    {
        if (notes is null)
        {
            return null;
        }
        var (spent, isKnown) = ofNotes;
        long? paid = !isSummary ? (notes.CostMicroUsd is null ? null : 0) : isKnown && spent > 0 ? spent : notes.CostMicroUsd;
        return notes with
        {
            Model = request!.Model,
            RequestSha256 = Settings is null ? notes.RequestSha256 : RunNotes.RequestSha256(request.Model, turn!),
            InputTokens = isSummary ? notes.InputTokens : 0,
            OutputTokens = isSummary ? notes.OutputTokens : 0,
            CostMicroUsd = paid,
        };
    }

    void Judge(RecordedEvent e, BudgetReserved reserved, Run state)
    {
        RequireSettled(state);
        if (held.ContainsKey(e.Stream))
        {
            throw Diverged("cost", e, Data(e), "The call before it is settled first.", state);
        }
        BudgetReserved anew;
        if (completed is not null)
        {
            // A host asks for notes that need not be the one that drove the run.
            anew = reserved with { RunId = AsRecorded(reserved.RunId, run), Step = null, Model = request!.Model };
        }
        else if (state is Run.Active active)
        {
            var most = Settings?.PriceOf(request!.Model)?.MostMicroUsd(reserved.InputTokens, reserved.OutputTokens);
            anew = reserved with
            {
                RunId = AsRecorded(reserved.RunId, run),
                Step = active.StepsDone + 1,
                Attempt = active.StepAttempt,
                Model = request!.Model,
                ReservedMicroUsd = most is { } price ? Math.Clamp(price, 0, Limits.MicroUsdMax) : reserved.ReservedMicroUsd,
            };
        }
        else
        {
            throw Diverged("cost", e, Data(e), "The run calls no model.", state);
        }
        Compare("cost", e, anew, state);
        held[e.Stream] = new(reserved);
    }

    void Judge(RecordedEvent e, BudgetSettled settled, Run state)
    {
        if (!held.Remove(e.Stream, out var of))
        {
            throw Diverged("cost", e, Data(e), "No call of the run is reserved.", state);
        }
        var anew = of.Settled(e.At, settled);
        Compare("cost", e, anew, state);
        if (of.Reserved.Step is null)
        {
            ofNotes = (ofNotes.Spent + settled.SpentMicroUsd, ofNotes.IsKnown && settled.Assumed is not true);
        }
    }

    void Use(ModelUsage? used) =>
        (input, output, cost) = (input + (used?.InputTokens ?? 0), output + (used?.OutputTokens ?? 0), cost + (used?.CostMicroUsd ?? 0));

    /// <summary>A call of the model has come to something.</summary>
    /// <param name="spent">What it cost; null: the record does not say.</param>
    void Outcome(RecordedEvent e, long? spent, bool isAnswer, Run state)
    {
        if (isPast)
        {
            return;
        }
        RequireSettled(state);
        if (held.Values.FirstOrDefault(one => !one.IsLost) is { } current)
        {
            (current.Of, current.SpentMicroUsd, current.IsAnswer) = (e, spent, isAnswer);
        }
        else if (spent > 0 && Settings?.PriceOf(request!.Model) is not null)
        {
            throw Diverged("cost", e, "Nothing is reserved.", $"The loop reserves the call of {request!.Model} in the tenant's budget.", state);
        }
        else if (spent > 0 && Settings?.Prices is null)
        {
            unproved("costs", NoReservations);
        }
    }

    /// <summary>What became of a call is settled in the same commit.</summary>
    void RequireSettled(Run state)
    {
        if (held.Values.FirstOrDefault(one => one.Of is not null) is { } open)
        {
            Miss("cost", open.Of!, open.Settled(open.Of!.At, null), state);
        }
    }

    void List<T>(List<T> list, T item)
    {
        if (list.Count < ListMax)
        {
            list.Add(item);
        }
        else
        {
            more++;
        }
    }

    void Compare(string what, RecordedEvent e, Event made, Run state)
    {
        var (data, was) = (EventJson.Write(made), EventJson.Write(e.Event));
        if (!data.AsSpan().SequenceEqual(was))
        {
            throw Diverged(what, e, Encoding.UTF8.GetString(was), Encoding.UTF8.GetString(data), state);
        }
    }

    /// <summary>A key, written as the record writes it: earlier releases wrote some without the prefix of their ids.</summary>
    static TKey AsRecorded<TKey>(TKey? recorded, TKey key)
        where TKey : struct, IEquatable<TKey> => recorded is { } same && same.Equals(key) ? same : key;

    static string Data(RecordedEvent e) => $"{EventTypes.FeedType(e.Type)} {Encoding.UTF8.GetString(EventJson.Write(e.Event))}";

    /// <summary>Something is not recorded that follows from an event.</summary>
    void Miss(string what, RecordedEvent of, Event made, Run state)
    {
        if (!isPast)
        {
            throw Diverged(what, of, "Nothing.", $"{EventTypes.FeedType(EventTypes.NameOf(made))} {Encoding.UTF8.GetString(EventJson.Write(made))}", state);
        }
        unproved("past_effects", NoPast);
    }

    DivergedException Diverged(string what, RecordedEvent e, string recordedSide, string replayed, Run state) =>
        DivergedException.At(what, state is Run.Active active ? active.StepsDone + 1 : Steps, e, recordedSide, replayed);

    /// <summary>A call that was made.</summary>
    /// <param name="Recorded">Its result.</param>
    /// <param name="Files">What it wrote; null: its record does not say.</param>
    sealed record MadeCall(RecordedEvent Recorded, ToolResult Result, RequestedCall Asked, IReadOnlyList<ToldFile>? Files);

    /// <param name="Path">Null: the call does not say how the folder names it.</param>
    /// <param name="Content">Null: it is not in the record.</param>
    sealed record ToldFile(string? Path, string Sha256, long Bytes, byte[]? Content = null);

    /// <summary>A reservation that is not settled yet.</summary>
    sealed class HeldReservation(BudgetReserved reserved)
    {
        public BudgetReserved Reserved { get; } = reserved;

        /// <summary>Its driver was lost before anything came of the call.</summary>
        public bool IsLost { get; set; }

        /// <summary>What became of the call; null: nothing yet.</summary>
        public RecordedEvent? Of { get; set; }

        public bool IsAnswer { get; set; }

        /// <summary>Null: the record does not say.</summary>
        public long? SpentMicroUsd { get; set; }

        /// <summary>What settles it.</summary>
        /// <param name="settled">The record, which says whether a call without an answer was paid; null: there is none.</param>
        public BudgetSettled Settled(DateTimeOffset at, BudgetSettled? settled)
        {
            // A provider that failed may not have been paid, and one that was asked for notes tells it nowhere else.
            var isFree = settled is { SpentMicroUsd: 0, Assumed: null } && Of is not null && !IsAnswer;
            var spent = Reserved.Step is null && settled is { Assumed: null } ? settled.SpentMicroUsd : SpentMicroUsd ?? (isFree ? 0 : null);
            return new(
                Reserved.RunId, Reserved.Step, Reserved.Attempt, Reserved.ReservedMicroUsd, Math.Clamp(spent ?? Reserved.ReservedMicroUsd, 0, Limits.MicroUsdMax), at,
                spent is null ? true : null);
        }
    }
}
