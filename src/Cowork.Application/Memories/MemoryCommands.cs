using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Keeps a fact that a user states. Refused: there is no such project.</summary>
/// <param name="Project">The project whose runs alone retrieve it; null: every run may.</param>
/// <param name="Header">The idempotency key that the same commit claims.</param>
public sealed record CreateMemory(MemoryKey Memory, Content Text, ProjectKey? Project, RequestKey? Header = null, string? Subject = null) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        // Pinned: no memory begins in a project that is deleted at the same time.
        var refused = Project is { } project && await work.PinnedState(Domain.Project.Aggregate, project) is not Domain.Project.Live
            ? Refusal.NotFound("project")
            : await work.Do(Domain.Memory.Aggregate, Memory, new MemoryCommand.Create(
                Memory, Text, Subject is { } subject ? DataSubject.MemoryProjectOf(subject) : Project, work.Now, Subject));
        return Header is null ? refused : await Header.Claim(work, Domain.Memory.Aggregate, Memory) ?? refused;
    }
}

/// <summary>Changes the text of a fact.</summary>
/// <param name="Text">Null: as it is.</param>
public sealed record ChangeMemory(MemoryKey Memory, Content? Text, RequestKey? Header = null) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var (fact, refused) = await Facts.Find(work, Memory);
        refused ??= await Facts.Do(work, Memory, fact!, new MemoryCommand.Change(Text ?? fact!.Text, work.Now));
        return Header is null ? refused : await Header.Claim(work, Domain.Memory.Aggregate, Memory) ?? refused;
    }
}

/// <summary>Deletes a fact: it is retrieved no more.</summary>
public sealed record DeleteMemory(MemoryKey Memory) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var (fact, refused) = await Facts.Find(work, Memory);
        return refused ?? await Facts.Do(work, Memory, fact!, new MemoryCommand.Delete(work.Now));
    }
}

/// <summary>Deletes facts with one commit, also those of deleted sessions. Those that were deleted before are passed over.</summary>
public sealed record DeleteMemories(IReadOnlyList<MemoryKey> Memories) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        foreach (var memory in Memories)
        {
            if (await work.State(Memory.Aggregate, memory) is Memory.Kept { Kind: Memory.Fact } fact
                && await Facts.Do(work, memory, fact, new MemoryCommand.Delete(work.Now)) is { } refused)
            {
                return refused;
            }
        }
        return null;
    }
}

static class Facts
{
    /// <summary>The fact, or the refusal: there is none, its session was deleted, or it is what the agents of a group remember.</summary>
    public static async ValueTask<(Memory.Kept? Fact, Refusal? Refused)> Find(UnitOfWork work, MemoryKey memory)
    {
        if (await work.State(Memory.Aggregate, memory) is not Memory.Kept { Kind: Memory.Fact } fact)
        {
            return (null, Refusal.NotFound("memory"));
        }
        return fact.SessionId is not { } session ? (fact, null)
            : await work.PinnedState(Session.Aggregate, session) is not Session.Open open ? (null, Refusal.NotFound("memory"))
            : await SessionOfGroup.WhyRefused(work, open, "memory") is { } ofGroup ? (null, ofGroup)
            : (fact, null);
    }

    /// <summary>Executes a command; its events also appear in the feed of the session that the fact came from.</summary>
    public static ValueTask<Refusal?> Do(UnitOfWork work, MemoryKey memory, Memory.Kept fact, MemoryCommand command) =>
        work.Do(Memory.Aggregate, memory, command, fact.SessionId);
}
