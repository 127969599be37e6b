using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>
/// What somebody asks to be changed in the log: data, and how it is judged. It may span streams. On an engine with a message bus it is a message, so
/// everything in it can be serialised.
/// </summary>
public interface ICommand
{
    /// <summary>Puts what follows from the command into the work, or answers why nothing does. It is called again, on new work, when a stream has moved.</summary>
    ValueTask<Refusal?> Decide(UnitOfWork work);
}

/// <summary>Where commands go: to <see cref="CommandHandler"/> in this process, or to a message bus that brings them there.</summary>
public interface ICommandExecutor
{
    /// <summary>Commits what the command decides, and answers its refusal, or the streams as the commit left them.</summary>
    /// <param name="patient">
    /// Wait for a database that is away instead of throwing <see cref="StorageUnavailableException"/>, for as long as <paramref name="ct"/> allows. What may
    /// have been committed is looked up, never repeated.
    /// </param>
    ValueTask<CommandResult> Execute(string org, Origin by, ICommand command, CancellationToken ct, bool patient = false);
}
