using System.Collections.Concurrent;
using System.Runtime.ExceptionServices;

using Cowork.Application;
using Cowork.Application.Storage;

using Wolverine.Runtime;

namespace Cowork.Marten;

/// <summary>Sends commands over the bus of this process, each as the message of its type and under its tenant.</summary>
sealed class WolverineCommandExecutor(IWolverineRuntime runtime) : ICommandExecutor
{
    static readonly ConcurrentDictionary<Type, Func<ICommand, Origin, bool, object>> Envelopes = new();

    public async ValueTask<CommandResult> Execute(string org, Origin by, ICommand command, CancellationToken ct, bool waitForStorage = false)
    {
        Executed executed;
        try
        {
            var message = Envelopes.GetOrAdd(command.GetType(), EnvelopeOf)(command, by, waitForStorage);
            executed = await new MessageBus(runtime).InvokeForTenantAsync<Executed>(org, message, ct);
        }
        catch (StreamBusyException e)
        {
            return new(e.Refused, []);
        }
        if (executed.Interrupted is { } interrupted)
        {
            ExceptionDispatchInfo.Throw(interrupted);
        }
        return executed.Result!;
    }

    static Func<ICommand, Origin, bool, object> EnvelopeOf(Type command) =>
        typeof(WolverineCommandExecutor).GetMethod(nameof(Wrap), System.Reflection.BindingFlags.NonPublic | System.Reflection.BindingFlags.Static)!
            .MakeGenericMethod(command).CreateDelegate<Func<ICommand, Origin, bool, object>>();

    static Execute<TCommand> Wrap<TCommand>(ICommand command, Origin by, bool waitForStorage)
        where TCommand : ICommand =>
        new Execute<TCommand>((TCommand)command, by, waitForStorage);
}
