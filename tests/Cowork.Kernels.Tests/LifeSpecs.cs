using System.Diagnostics;

using Cowork.Application;
using Cowork.Testing;

namespace Cowork.Kernels.Tests;

/// <summary>Kernels that start, die, are killed and disposed of.</summary>
public sealed class LifeSpecs
{
    [Theory]
    [InlineData("import os; os._exit(3)", "code 3")]
    [InlineData("import os; os.kill(os.getpid(), 9)", "signal 9")]
    [InlineData("import ctypes; ctypes.string_at(0)", "signal 11")]
    public async Task A_kernel_that_dies_is_replaced(string code, string how)
    {
        await using var kernel = await RealKernel.Start();
        (await kernel.Run("gone = 1")).Succeeded();
        var run = await kernel.Run($"print('before', flush=True)\n{code}");
        Assert.True(run.Done is { Outcome: KernelOutcome.Died, Limit: null, IsStateLost: true }, run.Done.ToString());
        Assert.Contains(how, run.Done.Why, StringComparison.Ordinal);
        Assert.Equal("False", (await kernel.Run("'gone' in globals()")).Result);
    }

    [Fact]
    public async Task A_kernel_that_dies_between_cells_is_replaced_and_the_next_cell_says_so()
    {
        await using var kernel = await RealKernel.Start();
        (await kernel.Run("import os, threading\ndef end():\n    while not os.path.exists('go'): pass\n    os._exit(1)\nthreading.Thread(target=end).start()")).Succeeded();
        var first = Assert.Single(Children(Assert.Single(Children(kernel.ProcessId))));
        await File.WriteAllTextAsync(kernel.In("go"), "");
        await Patience.Until(() => !Directory.Exists($"/proc/{first}"));
        var run = (await kernel.Run("1 + 1")).Succeeded();
        Assert.Contains("code 1", Assert.IsType<KernelMessage.Restarted>(run.Messages[0]).Why, StringComparison.Ordinal);
        Assert.DoesNotContain((await kernel.Run("1 + 1")).Messages, m => m is KernelMessage.Restarted);
    }

    [Fact]
    public async Task A_kernel_that_dies_while_no_cell_runs_is_told_at_once_and_once()
    {
        await using var kernel = await RealKernel.Start();
        (await kernel.Run("kept = 1\nimport os, threading\nthreading.Timer(1, lambda: os._exit(5)).start()")).Succeeded();
        var lost = kernel.Kernel.Lost;
        var why = await lost.WaitAsync(Patience.Limit);
        Assert.Contains("code 5", why, StringComparison.Ordinal);
        Assert.Same(lost, kernel.Kernel.Lost);
        var run = (await kernel.Run("'kept' in globals()")).Succeeded();
        Assert.Equal(("False", new KernelMessage.Restarted(why)), (run.Result, run.Messages[0]));
        Assert.False(kernel.Kernel.Lost.IsCompleted);
        // Nor is it a loss to be told that a cell told with its end, or that somebody asked for.
        Assert.Equal(KernelOutcome.Died, (await kernel.Run("import os\nos._exit(3)")).Done.Outcome);
        await kernel.Kernel.Restart(CancellationToken.None);
        Assert.False(kernel.Kernel.Lost.IsCompleted);
    }

    [Fact]
    public async Task A_cell_that_hears_no_interrupt_loses_its_kernel()
    {
        await using var kernel = await RealKernel.Start();
        using var interrupt = new CancellationTokenSource();
        KernelMessage? last = null;
        await foreach (var message in kernel.Kernel.Execute(
            "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('started', flush=True)\nwhile True: pass", interrupt.Token))
        {
            last = message;
            await interrupt.CancelAsync();
        }
        Assert.True(last is KernelMessage.Done { Outcome: KernelOutcome.Interrupted, IsStateLost: true, Why: not null });
        Assert.Equal("2", (await kernel.Run("1 + 1")).Result);
    }

    [Fact]
    public async Task A_restart_forgets_variables_files_in_scratch_and_processes()
    {
        await using var kernel = await RealKernel.Start();
        (await kernel.Run("kept = 1\nopen('/tmp/kept', 'w').close()\nimport subprocess\nsubprocess.Popen(['sleep', '1000'], start_new_session=True)")).Succeeded();
        await kernel.Kernel.Restart(CancellationToken.None);
        var run = await kernel.Run("import os\n'kept' in globals(), os.path.exists('/tmp/kept'), len([p for p in os.listdir('/proc') if p.isdigit()])");
        Assert.Equal("(False, False, 2)", run.Result);
        Assert.Equal(1, run.Done.ExecutionCount);
    }

    [Fact]
    public async Task What_a_cell_leaves_running_stands_still_until_the_next_cell_and_has_a_low_priority()
    {
        await using var kernel = await RealKernel.Start();
        (await kernel.Run(
            """
            import subprocess
            busy = [subprocess.Popen(['sh', '-c', 'while :; do :; done'], start_new_session=True) for _ in range(5)]
            subprocess.Popen(['sh', '-c', '(while :; do :; done) &'], start_new_session=True).wait()
            echo = subprocess.Popen(['cat'], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            """)).Succeeded();
        var bridge = Assert.Single(Children(kernel.ProcessId));
        var jupyter = Children(bridge).Min();
        var others = Tree(bridge).Where(p => p != bridge && p != jupyter).ToList();
        Assert.Equal(7, others.Count);
        await Patience.Until(() => States(others).TrueForAll(s => s.State == 'T'));
        Assert.All(States([jupyter, .. others]), s => Assert.True(s.Nice >= 10, $"{s}"));
        Assert.NotEqual('T', States([jupyter])[0].State);
        Assert.Equal("b'used again\\n'", (await kernel.Run("echo.stdin.write(b'used again\\n')\necho.stdin.flush()\necho.stdout.readline()")).Result);
        Assert.Equal("[-9, -9, -9, -9, -9]", (await kernel.Run("for b in busy: b.kill()\n[b.wait() for b in busy]")).Result);
    }

    [Fact]
    public async Task A_restart_ends_the_cell_that_runs()
    {
        await using var kernel = await RealKernel.Start();
        KernelMessage? last = null;
        var restart = default(ValueTask);
        await foreach (var message in kernel.Kernel.Execute("print('started', flush=True)\nwhile True: pass", CancellationToken.None))
        {
            if (last is null)
            {
                restart = kernel.Kernel.Restart(CancellationToken.None);
            }
            last = message;
        }
        await restart;
        Assert.True(last is KernelMessage.Done { Outcome: KernelOutcome.Died, IsStateLost: true });
        Assert.Equal("2", (await kernel.Run("1 + 1")).Result);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_sandbox_that_is_killed_from_outside_ends_its_cell_and_all_its_processes(bool isBridge)
    {
        await using var kernel = await RealKernel.Start();
        var all = Tree(kernel.ProcessId);
        Assert.True(all.Count >= 3, $"{all.Count} processes");
        KernelMessage? last = null;
        await foreach (var message in kernel.Kernel.Execute("print('started', flush=True)\nwhile True: pass", CancellationToken.None))
        {
            if (last is null)
            {
                using var victim = Process.GetProcessById(isBridge ? Assert.Single(Children(kernel.ProcessId)) : kernel.ProcessId);
                victim.Kill();
            }
            last = message;
        }
        Assert.True(last is KernelMessage.Done { Outcome: KernelOutcome.Died, IsStateLost: true }, last?.ToString());
        Assert.Equal("The sandbox of the kernel has ended.", await kernel.Kernel.Ended);
        await Assert.ThrowsAsync<KernelUnavailableException>(() => kernel.Run("1"));
        await Assert.ThrowsAsync<KernelUnavailableException>(async () => await kernel.Kernel.Restart(CancellationToken.None));
        await Patience.Until(() => !all.Exists(IsThere));
    }

    [Fact]
    public async Task A_kernel_that_is_disposed_of_leaves_nothing()
    {
        var kernel = await RealKernel.Start();
        (await kernel.Run("import subprocess\nsubprocess.Popen(['sleep', '1000'], start_new_session=True)\nimport matplotlib.pyplot")).Succeeded();
        var all = Tree(kernel.ProcessId);
        Assert.Empty(Directory.GetFileSystemEntries(kernel.Folder));
        await kernel.DisposeAsync();
        Assert.DoesNotContain(all, IsThere);
        Assert.False(Directory.Exists(kernel.Folder));
        await Assert.ThrowsAsync<KernelUnavailableException>(() => kernel.Run("1"));
    }

    [Fact]
    public async Task A_kernel_that_is_disposed_of_ends_its_cell()
    {
        var kernel = await RealKernel.Start();
        KernelMessage? last = null;
        await foreach (var message in kernel.Kernel.Execute("print('started', flush=True)\nwhile True: pass", CancellationToken.None))
        {
            last = message;
            _ = kernel.Kernel.DisposeAsync().AsTask();
        }
        Assert.True(last is KernelMessage.Done { Outcome: KernelOutcome.Died });
        await kernel.DisposeAsync();
    }

    [Fact]
    public async Task A_reader_that_waits_loses_nothing()
    {
        await using var kernel = await RealKernel.Start();
        var seen = new List<string>();
        var isFirst = true;
        // More than the pipes hold, and fewer than the 1 000 messages past which the kernel's own socket drops what its thread has not sent yet.
        await foreach (var message in kernel.Kernel.Execute("for i in range(4000): display('x' * 200 + str(i))\nopen('done', 'w').close()", CancellationToken.None))
        {
            if (message is KernelMessage.Display display)
            {
                seen.Add(display.Data.GetProperty("text/plain").GetString()!);
            }
            if (isFirst)
            {
                isFirst = false;
                await Patience.Until(() => File.Exists(kernel.In("done"))); // all is on its way, and nobody has read it
            }
        }
        Assert.Equal(Enumerable.Range(0, 4_000).Select(i => $"'{new string('x', 200)}{i}'"), seen);
    }

    [Fact]
    public async Task An_unknown_kernel_is_refused() => await Assert.ThrowsAsync<ArgumentException>(
        async () => await RealKernel.Kernels.Start(new(Grants.Of(Grant.Of(Path.GetTempPath())), KernelLimits.Default, "cobol"), CancellationToken.None));

    [Fact]
    public async Task Kernels_are_available_here_and_python_is_the_default()
    {
        Assert.Null(await RealKernel.Kernels.WhyUnavailable(CancellationToken.None));
        Assert.Equal(("python3", "python"), (RealKernel.Kernels.Specs[0].Name, RealKernel.Kernels.Specs[0].Language));
    }

    [Theory]
    [InlineData("bwrap: No permissions to create new namespace, likely because the kernel does not allow non-privileged user namespaces.")]
    [InlineData("bwrap: setting up uid map: Permission denied")]
    [InlineData("bwrap: Can't mount proc on /newroot/proc: Operation not permitted")]
    [InlineData("unshare: unshare failed: Operation not permitted")]
    public async Task A_system_without_namespaces_is_told_what_to_allow(string errors) =>
        Assert.Contains("--security-opt seccomp=unconfined", await Prerequisites.Explain(errors, CancellationToken.None), StringComparison.Ordinal);

    [Theory]
    [InlineData("ModuleNotFoundError: No module named 'jupyter_client'", "python3-jupyter-client")]
    [InlineData("The kernel ended with code 1 before it took code. /usr/bin/python3: No module named ipykernel_launcher", "python3-ipykernel")]
    public async Task A_system_without_a_module_is_told_what_to_install(string errors, string package) => Assert.Equal(
        $"Cells need programs that are not installed. Install them: apt-get install --no-install-recommends {package}",
        await Prerequisites.Explain(errors, CancellationToken.None));

    internal static List<int> Children(int process)
    {
        try
        {
            return [.. Directory.GetDirectories($"/proc/{process}/task").SelectMany(t => File.ReadAllText($"{t}/children").Split(' ', StringSplitOptions.RemoveEmptyEntries)).Select(int.Parse)];
        }
        catch (IOException)
        {
            return [];
        }
    }

    /// <summary>Processes, the oldest first, with their states and nice values.</summary>
    static List<(char State, int Nice)> States(IEnumerable<int> processes) =>
    [
        .. processes.Select(p => File.ReadAllText($"/proc/{p}/stat")).Select(s => s[(s.LastIndexOf(')') + 2)..].Split(' ')).Select(s => (s[0][0], int.Parse(s[16]))),
    ];

    static List<int> Tree(int process) => [process, .. Children(process).SelectMany(Tree)];

    static bool IsThere(int process) => Directory.Exists($"/proc/{process}");
}

/// <summary>Eight kernels that run at once.</summary>
public sealed class ManyKernelSpecs(ManyKernelSpecs.Eight eight) : IClassFixture<ManyKernelSpecs.Eight>
{
    [Fact]
    public async Task Eight_kernels_work_beside_each_other_and_know_nothing_of_each_other()
    {
        await Task.WhenAll(eight.All.Select((kernel, i) => kernel.Run($"mine = {i}\nopen('/tmp/mine', 'w').write(str(mine))\nopen('mine', 'w').write(str(mine))")));
        var results = await Task.WhenAll(eight.All.Select(kernel => kernel.Run("mine, open('/tmp/mine').read(), open('mine').read(), sum(range(100_000))")));
        Assert.Equal(Enumerable.Range(0, 8).Select(i => $"({i}, '{i}', '{i}', 4999950000)"), results.Select(r => r.Result));
    }

    public sealed class Eight : IAsyncLifetime
    {
        public IReadOnlyList<RealKernel> All { get; private set; } = [];

        public async ValueTask InitializeAsync() => All = await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => RealKernel.Start()));

        public async ValueTask DisposeAsync()
        {
            foreach (var kernel in All)
            {
                await kernel.DisposeAsync();
            }
        }
    }
}
