[assembly: AssemblyFixture(typeof(SharedHost))]
