using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

using Wolverine;

namespace Cowork.Marten;

/// <summary>A command on its way to the one who executes it, in this process: the tenant is the envelope's.</summary>
/// <param name="WaitForStorage">Wait while the database is unavailable.</param>
public sealed record Execute<TCommand>(TCommand Command, Origin By, bool WaitForStorage)
    where TCommand : ICommand
{
    /// <summary>For logs, which must not contain messages of users.</summary>
    public override string ToString() => $"Execute {typeof(TCommand).Name}";
}

/// <summary>What became of a command.</summary>
/// <param name="Result">Null: the outcome is unknown.</param>
/// <param name="Interrupted">Why it is unknown: the database became unavailable, or the caller cancelled.</param>
public sealed record Executed(CommandResult? Result, Exception? Interrupted);

/// <summary>One handler for all commands: load, decide, append. The jobs that follow are the append's cascading messages.</summary>
public static class ExecuteHandler<TCommand>
    where TCommand : ICommand
{
    /// <exception cref="StreamBusyException">Others kept changing the stream: to be tried again after a pause.</exception>
    public static async Task<Executed> Handle(Execute<TCommand> message, Envelope envelope, CommandHandler commands, CancellationToken ct)
    {
        try
        {
            var result = await commands.Execute(envelope.TenantId!, message.By, message.Command, ct, message.WaitForStorage);
            return result.Refused is { Code: StreamBusyException.Code } busy ? throw new StreamBusyException(busy) : new(result, null);
        }
        catch (Exception e) when (e is StorageUnavailableException or OperationCanceledException)
        {
            // Expected, and nothing that trying again here could mend: the caller hears of it.
            return new(null, e);
        }
    }
}

/// <summary>A stream was changed by others for as many times as a command was judged.</summary>
public sealed class StreamBusyException : Exception
{
    /// <summary>Of the refusal that it carries.</summary>
    public const string Code = "stream_busy";

    public StreamBusyException()
        : this("Others kept changing it at the same time.")
    {
    }

    public StreamBusyException(string message)
        : this(Refusal.Conflict(Code, message))
    {
    }

    public StreamBusyException(string message, Exception inner)
        : base(message, inner) => Refused = Refusal.Conflict(Code, message);

    public StreamBusyException(Refusal refused)
        : base(refused.Detail) => Refused = refused;

    public Refusal Refused { get; }
}
