using System.Runtime.CompilerServices;
using System.Text.Json;
using System.Threading.Channels;

using Cowork.Application;

namespace Cowork.Kernels;

/// <summary>One sandbox with its kernel. The bridge in it keeps the limits and restarts the kernel; this side translates.</summary>
sealed class SandboxedKernel : IKernel
{
    /// <summary>Messages that wait for their reader. When there are more the sandbox waits.</summary>
    const int PendingMax = 256;

    /// <summary>What the bridge has to end itself in before it is killed.</summary>
    static readonly TimeSpan QuitTime = TimeSpan.FromSeconds(3);

    static readonly JsonElement Nothing = JsonElement.Parse("{}");

    readonly InstalledKernel kernel;
    readonly SandboxProcess process;
    readonly TimeProvider clock;
    readonly TaskCompletionSource<IReadOnlyList<string>> ready = new(TaskCreationOptions.RunContinuationsAsynchronously);
    readonly TaskCompletionSource<string> ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    readonly TaskCompletionSource<KernelEnvironment> environment = new(TaskCreationOptions.RunContinuationsAsynchronously);
    readonly Lock gate = new();
    readonly Dictionary<long, TaskCompletionSource> restarts = [];
    TaskCompletionSource<string> lost = new(TaskCreationOptions.RunContinuationsAsynchronously);
    string? fatal;
    bool isDisposed;
    Cell? current;
    long lastId;

    public SandboxedKernel(InstalledKernel kernel, KernelLimits limits, System.Diagnostics.ProcessStartInfo start, TimeProvider clock)
    {
        (this.kernel, this.clock) = (kernel, clock);
        process = new(start, checked((int)Math.Min(int.MaxValue / 2, (6 * limits.OutputBytes) + (4L << 20))), Read);
        // Who asks for it hears of it; that nobody does is no fault.
        _ = environment.Task.ContinueWith(t => t.Exception, CancellationToken.None, TaskContinuationOptions.OnlyOnFaulted, TaskScheduler.Default);
        process.Start();
        _ = End();
    }

    public Task<KernelEnvironment> Environment => environment.Task;

    public Task<string> Ended => ended.Task;

    public Task<string> Lost
    {
        get
        {
            lock (gate)
            {
                return lost.Task;
            }
        }
    }

    /// <summary>Completes with the identities of the folders that the sandbox has, in their order, or fails with <see cref="KernelUnavailableException"/>.</summary>
    public Task<IReadOnlyList<string>> Ready => ready.Task;

    /// <summary>Id of bubblewrap's process.</summary>
    public int ProcessId => process.Id;

    /// <summary>What the sandbox wrote to its standard error, when it is gone.</summary>
    public Task<string> Errors => process.Exited;

    public async IAsyncEnumerable<KernelMessage> Execute(string code, [EnumeratorCancellation] CancellationToken interrupt)
    {
        Cell cell;
        while (true)
        {
            Task over;
            lock (gate)
            {
                if (ended.Task.IsCompleted || isDisposed)
                {
                    throw new KernelUnavailableException(ended.Task.IsCompleted ? ended.Task.GetAwaiter().GetResult() : "The kernel was disposed of.");
                }
                if (current is null)
                {
                    cell = current = new(++lastId, clock.GetTimestamp());
                    break;
                }
                over = current.IsAbandoned ? current.Over.Task : throw new InvalidOperationException("Another cell runs in this kernel.");
            }
            await over;
        }
        var isDone = false;
        try
        {
            await Send(w =>
            {
                w.WriteString("command", "exec");
                w.WriteNumber("id", cell.Id);
                w.WriteString("code", code);
            });
            await using var interrupting = interrupt.UnsafeRegister(_ => _ = SendInterrupt(cell), null);
            await foreach (var message in cell.Messages.Reader.ReadAllAsync(CancellationToken.None))
            {
                isDone |= message is KernelMessage.Done;
                yield return message;
            }
        }
        finally
        {
            if (!isDone)
            {
                cell.Abandon();
                _ = SendInterrupt(cell);
            }
        }
    }

    public async ValueTask Restart(CancellationToken ct)
    {
        long id;
        var restarted = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        lock (gate)
        {
            if (ended.Task.IsCompleted)
            {
                throw new KernelUnavailableException(ended.Task.GetAwaiter().GetResult());
            }
            id = ++lastId;
            restarts[id] = restarted;
        }
        await Send(w =>
        {
            w.WriteString("command", "restart");
            w.WriteNumber("id", id);
        });
        await restarted.Task.WaitAsync(ct);
    }

    public async ValueTask DisposeAsync()
    {
        lock (gate)
        {
            isDisposed = true;
        }
        _ = Send(w => w.WriteString("command", "quit"));
        // A reader that stays away must not keep the thread from seeing the end.
        current?.Close();
        try
        {
            await process.Exited.WaitAsync(QuitTime, clock);
        }
        catch (TimeoutException)
        {
            process.Kill();
        }
        await ended.Task;
    }

    Task SendInterrupt(Cell cell) => Send(w =>
    {
        w.WriteString("command", "interrupt");
        w.WriteNumber("id", cell.Id);
    });

    Task Send(Action<Utf8JsonWriter> members)
    {
        using var memory = new MemoryStream();
        using (var json = new Utf8JsonWriter(memory))
        {
            json.WriteStartObject();
            members(json);
            json.WriteEndObject();
        }
        memory.WriteByte((byte)'\n');
        return process.Send(memory.ToArray());
    }

    /// <summary>One line of the bridge, on the thread of the sandbox.</summary>
    void Read(ReadOnlyMemory<byte> line)
    {
        using var json = JsonDocument.Parse(line);
        var said = json.RootElement;
        switch (said.GetProperty("event").GetString())
        {
            case "ready":
                ready.TrySetResult([.. said.GetProperty("folders").EnumerateArray().Select(identity => identity.GetString()!)]);
                lock (gate)
                {
                    foreach (var id in said.GetProperty("restarts").EnumerateArray())
                    {
                        if (restarts.Remove(id.GetInt64(), out var waiting))
                        {
                            ForgetLoss();
                            waiting.TrySetResult();
                        }
                    }
                }
                break;
            case "environment":
                environment.TrySetResult(new(
                    kernel.Spec.Name, kernel.Spec.Language, said.GetProperty("version").GetString()!,
                    [
                        .. said.GetProperty("packages").EnumerateArray()
                            .Select(p => new KernelPackage(p[0].GetString()!, p[1].GetString()!))
                            .OrderBy(p => p.Name, StringComparer.Ordinal),
                    ]));
                break;
            case "lost":
                lock (gate)
                {
                    lost.TrySetResult(Text(said, "why"));
                }
                break;
            case "fatal":
                fatal = said.GetProperty("why").GetString();
                break;
            default:
                Pass(said);
                break;
        }
    }

    void Pass(JsonElement said)
    {
        Cell? cell;
        lock (gate)
        {
            cell = current;
        }
        if (cell is null || said.GetProperty("id").GetInt64() != cell.Id)
        {
            return;
        }
        var message = Message(said);
        if (message is KernelMessage.Done)
        {
            lock (gate)
            {
                current = null;
            }
            cell.Finish(message);
        }
        else
        {
            if (message is KernelMessage.Restarted)
            {
                lock (gate)
                {
                    ForgetLoss();
                }
            }
            cell.Put(message);
        }
    }

    /// <summary>A loss is told, or nothing was there to be lost. The caller has the gate.</summary>
    void ForgetLoss()
    {
        if (lost.Task.IsCompleted)
        {
            lost = new(TaskCreationOptions.RunContinuationsAsynchronously);
        }
    }

    static KernelMessage Message(JsonElement said) => said.GetProperty("event").GetString() switch
    {
        "stream" => new KernelMessage.Stream(Text(said, "name"), Text(said, "text")),
        "display_data" => new KernelMessage.Display(IsResult: false, Bundle(said, "data"), Bundle(said, "metadata"), said.GetProperty("display_id").GetString()),
        "execute_result" => new KernelMessage.Display(IsResult: true, Bundle(said, "data"), Bundle(said, "metadata"), said.GetProperty("display_id").GetString()),
        "update_display_data" => new KernelMessage.UpdateDisplay(Bundle(said, "data"), Bundle(said, "metadata"), Text(said, "display_id")),
        "clear_output" => new KernelMessage.ClearOutput(said.GetProperty("wait").GetBoolean()),
        "error" => new KernelMessage.Error(
            Text(said, "name"), Text(said, "value"), [.. said.GetProperty("traceback").EnumerateArray().Select(l => l.GetString()!)]),
        "truncated" => new KernelMessage.Truncated(Text(said, "why")),
        "restarted" => new KernelMessage.Restarted(Text(said, "why")),
        "done" => new KernelMessage.Done(
            Text(said, "status") switch
            {
                "ok" => KernelOutcome.Succeeded,
                "interrupted" => KernelOutcome.Interrupted,
                "died" => KernelOutcome.Died,
                _ => KernelOutcome.Failed,
            },
            said.GetProperty("limit").GetString(),
            said.GetProperty("why").GetString(),
            TimeSpan.FromMilliseconds(said.GetProperty("ms").GetInt64()),
            said.GetProperty("n") is { ValueKind: JsonValueKind.Number } n ? n.GetInt32() : null,
            said.GetProperty("lost").GetBoolean()),
        var other => throw new InvalidDataException($"The bridge says {other}."),
    };

    static string Text(JsonElement of, string name) => of.GetProperty(name).GetString()!;

    static JsonElement Bundle(JsonElement of, string name) => of.GetProperty(name) is { ValueKind: JsonValueKind.Object } bundle ? bundle.Clone() : Nothing;

    /// <summary>When the sandbox is gone, so is what anybody waits for.</summary>
    async Task End()
    {
        var errors = await process.Exited;
        string why;
        Cell? cell;
        List<TaskCompletionSource> waiting;
        lock (gate)
        {
            why = isDisposed ? "The kernel was disposed of." : fatal ?? "The sandbox of the kernel has ended.";
            (cell, current) = (current, null);
            waiting = [.. restarts.Values];
            restarts.Clear();
            ended.TrySetResult(why);
        }
        var gone = new KernelUnavailableException(fatal is null && errors.Length > 0 ? $"{why} {errors}" : why);
        _ = cell?.FinishLater(new KernelMessage.Done(KernelOutcome.Died, null, why, clock.GetElapsedTime(cell.Started), null, IsStateLost: true));
        ready.TrySetException(gone);
        environment.TrySetException(gone);
        foreach (var restart in waiting)
        {
            restart.TrySetException(gone);
        }
        process.Dispose();
    }

    /// <summary>A cell that runs, and what it said that nobody has read yet.</summary>
    sealed class Cell(long id, long started)
    {
        readonly TaskCompletionSource closed = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public long Id { get; } = id;

        public long Started { get; } = started;

        public Channel<KernelMessage> Messages { get; } = Channel.CreateBounded<KernelMessage>(new BoundedChannelOptions(PendingMax));

        /// <summary>Completes with the cell.</summary>
        public TaskCompletionSource Over { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        /// <summary>Nobody reads any more.</summary>
        public bool IsAbandoned { get; private set; }

        public void Abandon()
        {
            IsAbandoned = true;
            closed.TrySetResult();
        }

        /// <summary>What does not fit is dropped from here on.</summary>
        public void Close() => closed.TrySetResult();

        /// <summary>Waits for the reader, on the thread of the sandbox.</summary>
        public void Put(KernelMessage message)
        {
            while (!IsAbandoned && !Messages.Writer.TryWrite(message) && !closed.Task.IsCompleted)
            {
                Task.WhenAny(Messages.Writer.WaitToWriteAsync().AsTask(), closed.Task).GetAwaiter().GetResult();
            }
        }

        public void Finish(KernelMessage last)
        {
            Put(last);
            Messages.Writer.TryComplete();
            Over.TrySetResult();
        }

        /// <summary>The same, when the thread of the sandbox has ended.</summary>
        public async Task FinishLater(KernelMessage last)
        {
            Over.TrySetResult();
            if (!IsAbandoned)
            {
                await Messages.Writer.WriteAsync(last);
            }
            Messages.Writer.TryComplete();
        }
    }
}
