using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>
/// A request to change the log: its data, and its decision. It may span streams. An engine with a message bus sends it as a message, so every member can be
/// serialised.
/// </summary>
public interface ICommand
{
    /// <summary>Adds events to the unit of work, or answers a refusal. It is called again with a new unit of work after a lost race.</summary>
    ValueTask<Refusal?> Decide(UnitOfWork work);
}

/// <summary>Executes commands: <see cref="CommandHandler"/> directly, or a message bus in front of it.</summary>
public interface ICommandExecutor
{
    /// <summary>Decides and commits. Answers the refusal, or the streams after the commit.</summary>
    /// <param name="waitForStorage">
    /// True: wait while the database is unavailable, until <paramref name="ct"/> is cancelled; false: throw <see cref="StorageUnavailableException"/>. A commit
    /// without an answer is looked up in the log, never repeated.
    /// </param>
    ValueTask<CommandResult> Execute(string org, Origin by, ICommand command, CancellationToken ct, bool waitForStorage = false);
}
