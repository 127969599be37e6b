using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Executes commands that name a text. A long one is stored when nothing refuses the command: a refused or repeated request leaves nothing in the blob store.</summary>
public sealed class TextCommands(CommandHandler handler, ICommandExecutor commands, IBlobs blobs)
{
    /// <param name="text">What the command names.</param>
    /// <param name="waitForStorage">As in <see cref="ICommandExecutor.Execute"/>.</param>
    public ValueTask<CommandResult> Execute(string org, Origin by, ICommand command, NamedText text, CancellationToken ct, bool waitForStorage = false) =>
        Execute(org, by, command, [text], ct, waitForStorage);

    /// <inheritdoc cref="Execute(string, Origin, ICommand, NamedText, CancellationToken, bool)"/>
    /// <param name="texts">What the command names.</param>
    public async ValueTask<CommandResult> Execute(
        string org, Origin by, ICommand command, IReadOnlyList<NamedText> texts, CancellationToken ct, bool waitForStorage = false)
    {
        if (texts.Any(text => !text.Bytes.IsEmpty))
        {
            var (refused, subject) = await Judge(org, by, command, waitForStorage, ct);
            if (refused is not null)
            {
                return new(refused, []);
            }
            foreach (var text in texts)
            {
                await text.Store(blobs.For(org, subject), ct);
            }
        }
        return await commands.Execute(org, by, command, ct, waitForStorage);
    }

    async ValueTask<(Refusal? Refused, string? Subject)> Judge(string org, Origin by, ICommand command, bool waitForStorage, CancellationToken ct)
    {
        while (true)
        {
            try
            {
                return await handler.Judge(org, by, command, ct);
            }
            catch (StorageUnavailableException) when (waitForStorage)
            {
                // Whose text it is says how it is stored.
                await handler.Pause(ct);
            }
        }
    }
}
