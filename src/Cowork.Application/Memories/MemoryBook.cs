using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Keeps a memory that a call made. Refused: the session's project was deleted.</summary>
/// <param name="Run">The run that it comes from.</param>
public sealed record KeepMemory(MemoryKey Memory, string Kind, Content Text, SessionKey Session, RunKey Run) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work) =>
        // Pinned: no memory begins in a project that is deleted at the same time.
        await work.State(Domain.Session.Aggregate, Session) is Domain.Session.Open { Group: null, Project: { } project }
        && await work.PinnedState(Project.Aggregate, project) is not Project.Live
            ? Refusal.NotFound("project")
            : await MemoryBook.Write(work, Memory, Kind, Text, Session, Run, await MemoryBook.LastOf(work, Run), null);
}

/// <summary>What the agent keeps across runs. Memories are named by what they come from, so writing one again changes nothing.</summary>
public sealed class MemoryBook(ICommandExecutor commands, IRunQueries queries, IBlobs blobs) : IMemories
{
    /// <summary>Keeps a text that the model was asked to remember; the call's token names it.</summary>
    public async ValueTask<MemoryKey?> Remember(ToolContext context, string content, CancellationToken ct)
    {
        var key = new MemoryKey(Ids.KeyOf($"memory {context.IdempotencyToken}"));
        var text = await blobs.For(context.Org, context.Subject).Store(content, ct);
        var result = await commands.Execute(
            context.Org, new Origin(RunDriver.Actor, context.Correlation, context.IdempotencyToken), new KeepMemory(key, Memory.Fact, text, context.Session, context.Run), ct,
            waitForStorage: true);
        return result.Refused switch
        {
            null => key,
            { Code: "not_found" } => null,
            { } refused => throw new InvalidOperationException($"A memory was refused: {refused.Code}."),
        };
    }

    public async ValueTask<IReadOnlyList<(Provenance From, string Text)>> Recall(ToolContext context, string query, int limit, CancellationToken ct)
    {
        var found = new List<(Provenance, string)>();
        foreach (var memory in await queries.RecallAll(context.Org, await queries.ProjectOf(context.Org, context.Session, ct), query, limit, ct))
        {
            found.Add((memory.From, await blobs.Text(memory.Text, ct)));
        }
        return found;
    }

    /// <summary>Writes a run's notes: what the session is about, and what was learned.</summary>
    /// <param name="turn">What the run was about, on one line.</param>
    /// <param name="from">The run's event that they follow from.</param>
    /// <param name="notes">What asking a model for them came to. What it used is told once, with the summary.</param>
    internal static async ValueTask<Refusal?> WriteNotes(UnitOfWork work, SessionKey session, RunKey run, string turn, string? learning, EventRef from, ModelNotes? notes)
    {
        // A summary is short enough to lie in its event.
        var before = await work.State(Memory.Aggregate, SummaryKey(session)) is Memory.Kept { Text: Content.Inline text } ? text.Text : null;
        var summary = Content.Of(StorableText.Escape(SessionNotes.Summary(before, turn)));
        return await Write(work, SummaryKey(session), "session_summary", summary, session, run, from, notes)
            ?? (learning is null ? null : await Write(
                work, LearningKey(run), "learning", Content.Of(StorableText.Escape(learning)), session, run, from,
                notes is null ? null : notes with { InputTokens = 0, OutputTokens = 0, CostMicroUsd = notes.CostMicroUsd is null ? null : 0 }));
    }

    /// <summary>The run's last event, as the work leaves it.</summary>
    internal static async ValueTask<EventRef> LastOf(UnitOfWork work, RunKey run) => new(Run.Aggregate.Stream(run), await work.Version(Run.Aggregate, run));

    /// <summary>The memory that sums a session up: one for each session, written anew after each of its runs.</summary>
    internal static MemoryKey SummaryKey(SessionKey session) => new(Ids.KeyOf($"session_summary {session.Value}"));

    /// <summary>The memory of what was learned in a run.</summary>
    internal static MemoryKey LearningKey(RunKey run) => new(Ids.KeyOf($"learning {run.Value}"));

    internal static async ValueTask<Refusal?> Write(
        UnitOfWork work, MemoryKey memory, string kind, Content text, SessionKey session, RunKey run, EventRef from, ModelNotes? notes) =>
        await work.Do(
            Memory.Aggregate, memory,
            new MemoryCommand.Write(
                memory, kind, text, session, run, work.Now, from, notes, await ProjectOf(work, session),
                (await work.State(Run.Aggregate, run) as IOfSubject)?.Subject ?? (await work.State(Session.Aggregate, session) as IOfSubject)?.Subject),
            session, run);

    /// <summary>The project whose runs alone retrieve what the session's runs keep; null: every run may, or the session was deleted and nothing of it is retrieved.</summary>
    static async ValueTask<ProjectKey?> ProjectOf(UnitOfWork work, SessionKey session) =>
        (await work.State(Session.Aggregate, session) as Session.Open)?.MemoryProject;
}
