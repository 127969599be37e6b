using System.Runtime.CompilerServices;

using Cowork.Application;

namespace Cowork.Testing;

/// <summary>Kernels without a process: each cell is answered by what <paramref name="execute"/> makes of its code and of the kernel's variables.</summary>
/// <param name="execute">Messages before Done. It may keep what it likes in the variables, which a restart clears.</param>
public sealed class ScriptedKernels(Func<string, Dictionary<string, string>, CancellationToken, IAsyncEnumerable<KernelMessage>> execute) : IKernels
{
    /// <summary>Kernels that print their code.</summary>
    public static ScriptedKernels Echoing() => new((code, _, _) => new[] { new KernelMessage.Stream("stdout", code) }.ToAsyncEnumerable<KernelMessage>());

    public IReadOnlyList<KernelSpec> Specs { get; } = [new("python3", "python", "Python 3 (scripted)")];

    /// <summary>What is to be missing; null: nothing.</summary>
    public string? Missing { get; set; }

    /// <summary>Kernels that were started, in order.</summary>
    public List<ScriptedKernel> Started { get; } = [];

    public ValueTask<string?> WhyUnavailable(CancellationToken ct) => new(Missing);

    public ValueTask<IKernel> Start(KernelRequest request, CancellationToken ct)
    {
        if (Missing is not null)
        {
            throw new KernelUnavailableException(Missing);
        }
        if (request.Kernel is { } name && Specs.All(s => s.Name != name))
        {
            throw new ArgumentException($"There is no kernel {name}.", nameof(request));
        }
        var kernel = new ScriptedKernel(request, execute);
        lock (Started)
        {
            Started.Add(kernel);
        }
        return new(kernel);
    }
}

/// <summary>One kernel of <see cref="ScriptedKernels"/>.</summary>
public sealed class ScriptedKernel(KernelRequest request, Func<string, Dictionary<string, string>, CancellationToken, IAsyncEnumerable<KernelMessage>> execute) : IKernel
{
    readonly TaskCompletionSource<string> ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    TaskCompletionSource<string> lost = new(TaskCreationOptions.RunContinuationsAsynchronously);
    Dictionary<string, string> variables = [];
    CancellationTokenSource life = new();
    int count;

    public KernelRequest Request { get; } = request;

    public Task<KernelEnvironment> Environment { get; } = Task.FromResult(new KernelEnvironment("python3", "python", "3.11.2", [new("numpy", "1.24.2")]));

    public Task<string> Ended => ended.Task;

    public Task<string> Lost => lost.Task;

    public async IAsyncEnumerable<KernelMessage> Execute(string code, [EnumeratorCancellation] CancellationToken interrupt)
    {
        if (Ended.IsCompleted)
        {
            throw new KernelUnavailableException(await Ended);
        }
        if (lost.Task.IsCompletedSuccessfully)
        {
            var why = await lost.Task;
            lost = new(TaskCreationOptions.RunContinuationsAsynchronously);
            yield return new KernelMessage.Restarted(why);
        }
        var (now, number) = (life, ++count);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(interrupt, now.Token);
        var isFailed = false;
        var messages = execute(code, variables, either.Token).GetAsyncEnumerator(CancellationToken.None);
        await using (messages)
        {
            while (true)
            {
                try
                {
                    if (!await messages.MoveNextAsync())
                    {
                        break;
                    }
                }
                catch (OperationCanceledException) when (either.IsCancellationRequested)
                {
                    break;
                }
                if (messages.Current is KernelMessage.Done done)
                {
                    yield return done;
                    yield break;
                }
                isFailed |= messages.Current is KernelMessage.Error;
                yield return messages.Current;
            }
        }
        if (now.IsCancellationRequested)
        {
            yield return new KernelMessage.Done(KernelOutcome.Died, null, "The kernel is gone.", TimeSpan.Zero, number, IsStateLost: true);
            yield break;
        }
        if (interrupt.IsCancellationRequested)
        {
            yield return new KernelMessage.Error("KeyboardInterrupt", "", []);
        }
        yield return new KernelMessage.Done(
            interrupt.IsCancellationRequested ? KernelOutcome.Interrupted : isFailed ? KernelOutcome.Failed : KernelOutcome.Succeeded,
            null, null, TimeSpan.FromMilliseconds(1), number, IsStateLost: false);
    }

    public async ValueTask Restart(CancellationToken ct)
    {
        if (Ended.IsCompleted)
        {
            throw new KernelUnavailableException(await Ended);
        }
        var before = life;
        (life, variables, count) = (new(), [], 0);
        if (lost.Task.IsCompleted)
        {
            lost = new(TaskCreationOptions.RunContinuationsAsynchronously);
        }
        await before.CancelAsync();
    }

    /// <summary>Replaces the kernel as one that dies by itself while no cell runs.</summary>
    public void Lose(string why)
    {
        (variables, count) = ([], 0);
        lost.TrySetResult(why);
    }

    /// <summary>Ends the kernel as one whose sandbox is killed from outside.</summary>
    public async Task Die()
    {
        ended.TrySetResult("The sandbox was killed.");
        await life.CancelAsync();
    }

    public async ValueTask DisposeAsync()
    {
        ended.TrySetResult("The kernel was disposed of.");
        await life.CancelAsync();
    }
}
